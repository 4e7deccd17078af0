// whole[index[i]] += rows[i] for all i, where order sorts the indices. The first of equal indices adds the rows of all,
// in their order: no element is written by two threads, and the sum is the same each time.
extern "C" __global__ void add_rows(const Index* index, const Index* order, const T* rows, Index n, int columns,
                                    T* whole)
{
    Index first = blockIdx.x, row = index[order[first]];
    if (first > 0 && index[order[first - 1]] == row)
        return;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        A sum = A(whole[row * columns + j]);
        for (Index i = first; i < n && index[order[i]] == row; i++)
            sum += A(rows[order[i] * columns + j]);
        whole[row * columns + j] = T(sum);
    }
}
