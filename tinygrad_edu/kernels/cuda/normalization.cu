// Layer norm and RMS norm of rows. A block takes one row at a time; the row's second reading comes from the cache.

// y = (x - mean) rstd weight + bias. Not centred: the mean counts as 0. weight and bias may be null.
// Unless total is null, x is first made of a sum, each addition rounded: total = other + (x + shift), where shift (of a
// row) and other may be null. A thread reads again only what it wrote itself.
extern "C" __global__ void normalise(const T* x, const T* shift, const T* other, T* total, const T* weight, const T* bias,
                                     int columns, A eps, bool centred, T* y, A* mean, A* rstd)
{
    Index start = Index(blockIdx.x) * columns;
    const T* row = x + start;
    if (total) {
        for (int j = threadIdx.x; j < columns; j += blockDim.x) {
            T sum = shift ? plus(row[j], shift[j]) : row[j];
            total[start + j] = other ? plus(other[start + j], sum) : sum;
        }
        row = total + start;
    }
    T* out = y + start;
    A centre = 0, squares = 0;
    if (centred) {
        for (int j = threadIdx.x; j < columns; j += blockDim.x)
            centre += A(row[j]);
        centre = over_block<Sum>(centre) / columns;
    }
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        A distance = A(row[j]) - centre;
        squares += distance * distance;
    }
    A r = 1 / sqrt(over_block<Sum>(squares) / columns + eps);
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        A xhat = (A(row[j]) - centre) * r;
        out[j] = T(xhat * (weight ? A(weight[j]) : A(1)) + (bias ? A(bias[j]) : A(0)));
    }
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = centre;
        rstd[blockIdx.x] = r;
    }
}

// gx, and in parts (blocks, 2, columns) what the rows of each block add to the gradients of weight and bias.
// A thread has EACH columns and keeps all it needs of them in registers.
extern "C" __global__ void __launch_bounds__(256)
normalise_backward(const T* x, const A* mean, const A* rstd, const T* weight, const T* gy, Index rows, int columns,
                   bool centred, T* gx, A* parts)
{
    A gweight[EACH] = {}, gbias[EACH] = {}, g[EACH], xhat[EACH];
    for (Index i = blockIdx.x; i < rows; i += gridDim.x) {
        A centre = mean[i], r = rstd[i], from_mean = 0, from_var = 0;
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            int j = threadIdx.x + k * blockDim.x;
            if (j < columns) {
                g[k] = A(gy[i * columns + j]);
                xhat[k] = (A(x[i * columns + j]) - centre) * r;
                gbias[k] += g[k];
                gweight[k] += g[k] * xhat[k];
                g[k] *= weight ? A(weight[j]) : A(1);
                from_mean += g[k];
                from_var += g[k] * xhat[k];
            }
        }
        from_mean = centred ? over_block<Sum>(from_mean) / columns : A(0);
        from_var = over_block<Sum>(from_var) / columns;
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            int j = threadIdx.x + k * blockDim.x;
            if (j < columns)
                gx[i * columns + j] = T((g[k] - from_mean - xhat[k] * from_var) * r);
        }
    }
    A* part = parts + Index(blockIdx.x) * 2 * columns;
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        int j = threadIdx.x + k * blockDim.x;
        if (j < columns) {
            part[j] = gweight[k];
            part[columns + j] = gbias[k];
        }
    }
}

// The sums of parts (n, 2, columns) over n, each half an array of its own. Blocks of 32 columns and 8 shares of the sum.
extern "C" __global__ void add_parts(const A* parts, int n, int columns, T* gweight, T* gbias)
{
    __shared__ A sums[8][32];
    int column = blockIdx.x * 32 + threadIdx.x;
    A sum = 0;
    if (column < 2 * columns)
        for (int i = threadIdx.y; i < n; i += 8)
            sum += parts[Index(i) * 2 * columns + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < 2 * columns) {
        for (int share = 1; share < 8; share++)
            sum += sums[share][threadIdx.x];
        (column < columns ? gweight[column] : gbias[column - columns]) = T(sum);
    }
}
