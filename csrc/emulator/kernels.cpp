// The kernels' own source behind the emulator's words, compiled twice: checked and quick.
#include "../attention.cu"
#include "../elementwise.cu"
#include "../index.cu"
#include "../matmul.cu"
#include "../optim.cu"
#include "../random.cu"
#include "../recurrent.cu"
#include "../reduce.cu"
