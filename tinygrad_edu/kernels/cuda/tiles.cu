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
#define KEPT (KEYS / 8 + 1)  // bytes of bits that say what dropout keeps in a row, whichever bit it begins at

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

// Where the row of a tile begins in the mask of dropout, (batches, heads, queries, keys).
__device__ Index mask_row(int query, int left, const Sizes& sizes)
{
    return (Index(blockIdx.y) * sizes.queries + query) * sizes.keys + left;
}

// kept[i] = the bits of the mask for query top + i, from the block of the stream on in which its row of the tile begins.
__device__ void draw(unsigned char (*kept)[KEPT], const Mask& mask, int top, int left, const Sizes& sizes)
{
    if (mask.smallest == 0)
        return;
    for (int i = threadIdx.x; i < QUERIES * KEPT; i += 256)
        kept[i / KEPT][i % KEPT] = kept_of_block(mask, mask_row(top + i / KEPT, left, sizes) / 8 + i % KEPT);
}

// The factor by which dropout multiplies the weight in this row and column of a tile.
__device__ A factor(const Mask& mask, const unsigned char (*kept)[KEPT], int row, int column, int top, int left,
                    const Sizes& sizes)
{
    return mask.smallest == 0 ? A(1) : factor(mask, kept[row], int(mask_row(top + row, left, sizes) % 8) + column);
}

// Over the 16 threads that share a row.
template <class Operation>
__device__ A over_row(A x)
{
    for (int distance = 8; distance > 0; distance /= 2)
        x = Operation::of(x, FROM_LANE(x, distance));
    return x;
}
