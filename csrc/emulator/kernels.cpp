// The kernels' own source behind the emulator's words, compiled twice: checked and quick.
#include "../conv.cu"
#include "../elementwise.cu"
#include "../matmul.cu"
#include "../pool.cu"
#include "../reduce.cu"
