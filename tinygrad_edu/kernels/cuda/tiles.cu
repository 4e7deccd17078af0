// Attention in tiles, without the (L, S) matrix of weights. Meaning: see ops/attention.py.
//
// A block has 16 x 16 threads. A tile is QUERIES queries by KEYS keys of one head; thread (y, x) has its elements at
// the rows y, y + 16, ... and columns x, x + 16, ... Rows of q, k, v and gy are read into shared memory, where they
// are CHANNELS wide with zeros at the end, and one element further apart, so that a column's elements lie in different
// banks. In causal attention no tile is computed of which every key is hidden.
// Source: Dao et al. 2022, arXiv:2205.14135; Milakov and Gimelshein 2018, arXiv:1805.02867 (the softmax on the way).

#define WIDTH (CHANNELS + 1)
#define QUERIES_EACH (QUERIES / 16)
#define KEYS_EACH (KEYS / 16)
#define CHANNELS_EACH (CHANNELS / 16)

// Where the rows of each head begin, in elements: at batch * b + head * h, then each row further.
struct Heads {
    Index batch, head, row;
};

struct Sizes {
    int heads, queries, keys, channels, value_channels;
};

__device__ const T* rows_of(const T* x, Heads heads, const Sizes& sizes)
{
    return x + blockIdx.y / sizes.heads * heads.batch + blockIdx.y % sizes.heads * heads.head;
}

__device__ T* rows_of(T* x, Heads heads, const Sizes& sizes)
{
    return x + blockIdx.y / sizes.heads * heads.batch + blockIdx.y % sizes.heads * heads.head;
}

// tile = rows first .. first + ROWS - 1 of x, zeros where there are none.
template <int ROWS>
__device__ void read_rows(A (*tile)[WIDTH], const T* x, Index row, int first, int end, int channels)
{
    for (int i = threadIdx.x; i < ROWS * CHANNELS; i += 256) {
        int r = i / CHANNELS, c = i % CHANNELS;
        tile[r][c] = first + r < end && c < channels ? A(x[(first + r) * row + c]) : A(0);
    }
}

// product[i][j] = the products of rows y + 16 i of a and x + 16 j of b.
template <int ROWS, int COLUMNS>
__device__ void multiply(A (&product)[ROWS][COLUMNS], const A (*a)[WIDTH], const A (*b)[WIDTH])
{
    int y = threadIdx.x / 16, x = threadIdx.x % 16;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            product[i][j] = 0;
#pragma unroll 8
    for (int c = 0; c < CHANNELS; c++) {
        A left[ROWS], right[COLUMNS];
        for (int i = 0; i < ROWS; i++)
            left[i] = a[y + 16 * i][c];
        for (int j = 0; j < COLUMNS; j++)
            right[j] = b[x + 16 * j][c];
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j++)
                product[i][j] = fma(left[i], right[j], product[i][j]);
    }
}

// Whether the query may see the key.
__device__ bool sees(int query, int key, const Sizes& sizes, bool is_causal)
{
    return query < sizes.queries && key < sizes.keys && (!is_causal || key <= query);
}

// The factor by which dropout multiplies a weight that can be seen.
__device__ A kept(const T* keep, Heads rows, int query, int key)
{
    return keep ? A(keep[query * rows.row + key]) : A(1);
}

// Over the 16 threads that share a row.
template <class Operation>
__device__ A over_row(A x)
{
    for (int distance = 8; distance > 0; distance /= 2)
        x = Operation::of(x, FROM_LANE(x, distance));
    return x;
}
