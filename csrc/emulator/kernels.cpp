// The kernels' own source behind the emulator's words, compiled twice: checked and quick.
#include "../elementwise.cu"
#include "../index.cu"
#include "../matmul.cu"
#include "../optim.cu"
#include "../random.cu"
#include "../reduce.cu"
