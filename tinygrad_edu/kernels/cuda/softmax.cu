// Softmax and its logarithm of rows; a block takes a row.

extern "C" __global__ void softmax(const T* x, int columns, bool in_logarithms, T* y)
{
    const T* row = x + Index(blockIdx.x) * columns;
    T* out = y + Index(blockIdx.x) * columns;
    A top = -INFINITE, sum = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        top = Largest::of(top, A(row[j]));
    top = over_block<Largest>(top);
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        sum += exp(A(row[j]) - top);
    sum = over_block<Sum>(sum);
    A log_sum = log(sum);
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        A shifted = A(row[j]) - top;
        out[j] = T(in_logarithms ? shifted - log_sum : exp(shifted) / sum);
    }
}

extern "C" __global__ void softmax_backward(const T* y, const T* gy, int columns, bool in_logarithms, T* gx)
{
    const T *row = y + Index(blockIdx.x) * columns, *g = gy + Index(blockIdx.x) * columns;
    T* out = gx + Index(blockIdx.x) * columns;
    A sum = 0;
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        sum += A(g[j]) * (in_logarithms ? A(1) : A(row[j]));
    sum = over_block<Sum>(sum);
    for (int j = threadIdx.x; j < columns; j += blockDim.x)
        out[j] = T(in_logarithms ? A(g[j]) - exp(A(row[j])) * sum : A(row[j]) * (A(g[j]) - sum));
}
