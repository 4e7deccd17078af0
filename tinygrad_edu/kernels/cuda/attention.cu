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

// y, and for each query the largest score and 1 / the sum of e^(score - largest).
extern "C" __global__ void __launch_bounds__(256)
attend(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, const T* keep, Heads keep_at,
       Sizes sizes, A scale, bool is_causal, T* y, Heads y_at, A* largest, A* r)
{
    __shared__ A q_tile[QUERIES][WIDTH], kv_tile[KEYS][WIDTH], weights[QUERIES][KEYS + 1];
    int row = threadIdx.x / 16, column = threadIdx.x % 16;
    int top = (gridDim.x - 1 - blockIdx.x) * QUERIES;  // in causal attention the last tiles have most to do
    int end = is_causal && top + QUERIES < sizes.keys ? top + QUERIES : sizes.keys;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    y = rows_of(y, y_at, sizes);
    keep = keep ? rows_of(keep, keep_at, sizes) : keep;

    A sum[QUERIES_EACH], peak[QUERIES_EACH], out[QUERIES_EACH][CHANNELS_EACH];
    for (int i = 0; i < QUERIES_EACH; i++) {
        sum[i] = 0, peak[i] = -INFINITE;
        for (int c = 0; c < CHANNELS_EACH; c++)
            out[i][c] = 0;
    }
    read_rows<QUERIES>(q_tile, q, q_at.row, top, sizes.queries, sizes.channels);
    for (int left = 0; left < end; left += KEYS) {
        __syncthreads();  // before it, the last values may still be read
        read_rows<KEYS>(kv_tile, k, k_at.row, left, sizes.keys, sizes.channels);
        __syncthreads();
        A s[QUERIES_EACH][KEYS_EACH];
        multiply(s, q_tile, kv_tile);
        __syncthreads();
        read_rows<KEYS>(kv_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
        for (int i = 0; i < QUERIES_EACH; i++) {
            int query = top + row + 16 * i;
            A above = -INFINITE;
            for (int j = 0; j < KEYS_EACH; j++) {
                s[i][j] = sees(query, left + column + 16 * j, sizes, is_causal) ? s[i][j] * scale : -INFINITE;
                above = Largest::of(above, s[i][j]);
            }
            above = Largest::of(peak[i], over_row<Largest>(above));
            A base = above == -INFINITE ? A(0) : above, shrink = exp(peak[i] - base), added = 0;
            for (int j = 0; j < KEYS_EACH; j++) {
                int key = left + column + 16 * j;
                A e = exp(s[i][j] - base);
                added += e;
                bool counts = keep && sees(query, key, sizes, is_causal);
                weights[row + 16 * i][column + 16 * j] = counts ? e * kept(keep, keep_at, query, key) : e;
            }
            peak[i] = above;
            sum[i] = sum[i] * shrink + over_row<Sum>(added);
            for (int c = 0; c < CHANNELS_EACH; c++)
                out[i][c] *= shrink;
        }
        __syncthreads();
        for (int j = 0; j < KEYS; j++) {
            A values[CHANNELS_EACH];
            for (int c = 0; c < CHANNELS_EACH; c++)
                values[c] = kv_tile[j][column + 16 * c];
            for (int i = 0; i < QUERIES_EACH; i++) {
                A weight = weights[row + 16 * i][j];
                for (int c = 0; c < CHANNELS_EACH; c++)
                    out[i][c] += weight * values[c];
            }
        }
    }
    for (int i = 0; i < QUERIES_EACH; i++) {
        int query = top + row + 16 * i;
        if (query >= sizes.queries)
            continue;
        A share = 1 / (sum[i] == 0 ? A(1) : sum[i]);
        for (int c = 0; c < CHANNELS_EACH; c++)
            if (column + 16 * c < sizes.value_channels)
                y[query * y_at.row + column + 16 * c] = T(out[i][c] * share);
        if (column == 0) {
            largest[Index(blockIdx.y) * sizes.queries + query] = peak[i] == -INFINITE ? A(0) : peak[i];
            r[Index(blockIdx.y) * sizes.queries + query] = share;
        }
    }
}

// along = sum(gy y) for each query, which is sum(weight gweight) over its keys. 16 threads have a query.
extern "C" __global__ void __launch_bounds__(256)
sum_along(const T* y, Heads y_at, const T* gy, Heads gy_at, Sizes sizes, A* along)
{
    int query = blockIdx.x * 16 + threadIdx.x / 16;
    y = rows_of(y, y_at, sizes), gy = rows_of(gy, gy_at, sizes);
    A sum = 0;
    if (query < sizes.queries)
        for (int c = threadIdx.x % 16; c < sizes.value_channels; c += 16)
            sum += A(y[query * y_at.row + c]) * A(gy[query * gy_at.row + c]);
    sum = over_row<Sum>(sum);
    if (query < sizes.queries && threadIdx.x % 16 == 0)
        along[Index(blockIdx.y) * sizes.queries + query] = sum;
}

// The gradients of a tile's scores from its products p = q k' and gp = gy v'; p becomes the weights that met v.
__device__ void softmax_backward(A (&p)[QUERIES_EACH][KEYS_EACH], A (&gp)[QUERIES_EACH][KEYS_EACH], int top, int left,
                                 const T* keep, Heads keep_at, const Sizes& sizes, A scale, bool is_causal,
                                 const A* largest, const A* r, const A* along)
{
    Index first = Index(blockIdx.y) * sizes.queries;
    for (int i = 0; i < QUERIES_EACH; i++)
        for (int j = 0; j < KEYS_EACH; j++) {
            int query = top + threadIdx.x / 16 + 16 * i, key = left + threadIdx.x % 16 + 16 * j;
            if (!sees(query, key, sizes, is_causal)) {
                p[i][j] = gp[i][j] = 0;
                continue;
            }
            A weight = exp(p[i][j] * scale - largest[first + query]) * r[first + query];
            A factor = kept(keep, keep_at, query, key);
            gp[i][j] = weight * (gp[i][j] * factor - along[first + query]);
            p[i][j] = weight * factor;
        }
}

// The gradients of queries: a block has a tile of them and goes over the keys.
extern "C" __global__ void __launch_bounds__(256)
attend_backward_q(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, const T* keep,
                  Heads keep_at, Sizes sizes, A scale, bool is_causal, const A* largest, const A* r, const A* along,
                  const T* gy, Heads gy_at, T* gq, Heads gq_at)
{
    __shared__ A q_tile[QUERIES][WIDTH], gy_tile[QUERIES][WIDTH], k_tile[KEYS][WIDTH], v_tile[KEYS][WIDTH];
    __shared__ A gs[QUERIES][KEYS + 1];
    int row = threadIdx.x / 16, column = threadIdx.x % 16, top = (gridDim.x - 1 - blockIdx.x) * QUERIES;
    int end = is_causal && top + QUERIES < sizes.keys ? top + QUERIES : sizes.keys;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    gy = rows_of(gy, gy_at, sizes), gq = rows_of(gq, gq_at, sizes);
    keep = keep ? rows_of(keep, keep_at, sizes) : keep;

    A out[QUERIES_EACH][CHANNELS_EACH] = {};
    read_rows<QUERIES>(q_tile, q, q_at.row, top, sizes.queries, sizes.channels);
    read_rows<QUERIES>(gy_tile, gy, gy_at.row, top, sizes.queries, sizes.value_channels);
    for (int left = 0; left < end; left += KEYS) {
        __syncthreads();
        read_rows<KEYS>(k_tile, k, k_at.row, left, sizes.keys, sizes.channels);
        read_rows<KEYS>(v_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
        __syncthreads();
        A p[QUERIES_EACH][KEYS_EACH], gp[QUERIES_EACH][KEYS_EACH];
        multiply(p, q_tile, k_tile);
        multiply(gp, gy_tile, v_tile);
        softmax_backward(p, gp, top, left, keep, keep_at, sizes, scale, is_causal, largest, r, along);
        for (int i = 0; i < QUERIES_EACH; i++)
            for (int j = 0; j < KEYS_EACH; j++)
                gs[row + 16 * i][column + 16 * j] = gp[i][j];
        __syncthreads();
        for (int j = 0; j < KEYS; j++)
            for (int i = 0; i < QUERIES_EACH; i++)
                for (int c = 0; c < CHANNELS_EACH; c++)
                    out[i][c] += gs[row + 16 * i][j] * k_tile[j][column + 16 * c];
    }
    for (int i = 0; i < QUERIES_EACH; i++)
        for (int c = 0; c < CHANNELS_EACH; c++)
            if (top + row + 16 * i < sizes.queries && column + 16 * c < sizes.channels)
                gq[(top + row + 16 * i) * gq_at.row + column + 16 * c] = T(out[i][c] * scale);
}

// The gradients of keys and values: a block has a tile of them and goes over the queries.
extern "C" __global__ void __launch_bounds__(256)
attend_backward_kv(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, const T* keep,
                   Heads keep_at, Sizes sizes, A scale, bool is_causal, const A* largest, const A* r,
                   const A* along, const T* gy, Heads gy_at, T* gk, Heads gk_at, T* gv, Heads gv_at)
{
    __shared__ A q_tile[QUERIES][WIDTH], gy_tile[QUERIES][WIDTH], k_tile[KEYS][WIDTH], v_tile[KEYS][WIDTH];
    __shared__ A weights[QUERIES][KEYS + 1], gs[QUERIES][KEYS + 1];
    int row = threadIdx.x / 16, column = threadIdx.x % 16, left = blockIdx.x * KEYS;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    gy = rows_of(gy, gy_at, sizes), gk = rows_of(gk, gk_at, sizes), gv = rows_of(gv, gv_at, sizes);
    keep = keep ? rows_of(keep, keep_at, sizes) : keep;

    A of_keys[KEYS_EACH][CHANNELS_EACH] = {}, of_values[KEYS_EACH][CHANNELS_EACH] = {};
    read_rows<KEYS>(k_tile, k, k_at.row, left, sizes.keys, sizes.channels);
    read_rows<KEYS>(v_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
    for (int top = is_causal ? left / QUERIES * QUERIES : 0; top < sizes.queries; top += QUERIES) {
        __syncthreads();
        read_rows<QUERIES>(q_tile, q, q_at.row, top, sizes.queries, sizes.channels);
        read_rows<QUERIES>(gy_tile, gy, gy_at.row, top, sizes.queries, sizes.value_channels);
        __syncthreads();
        A p[QUERIES_EACH][KEYS_EACH], gp[QUERIES_EACH][KEYS_EACH];
        multiply(p, q_tile, k_tile);
        multiply(gp, gy_tile, v_tile);
        softmax_backward(p, gp, top, left, keep, keep_at, sizes, scale, is_causal, largest, r, along);
        for (int i = 0; i < QUERIES_EACH; i++)
            for (int j = 0; j < KEYS_EACH; j++) {
                weights[row + 16 * i][column + 16 * j] = p[i][j];
                gs[row + 16 * i][column + 16 * j] = gp[i][j];
            }
        __syncthreads();
        for (int i = 0; i < QUERIES; i++)
            for (int j = 0; j < KEYS_EACH; j++)
                for (int c = 0; c < CHANNELS_EACH; c++) {
                    of_keys[j][c] += gs[i][row + 16 * j] * q_tile[i][column + 16 * c];
                    of_values[j][c] += weights[i][row + 16 * j] * gy_tile[i][column + 16 * c];
                }
    }
    for (int j = 0; j < KEYS_EACH; j++)
        for (int c = 0; c < CHANNELS_EACH; c++) {
            int key = left + row + 16 * j, channel = column + 16 * c;
            if (key < sizes.keys && channel < sizes.channels)
                gk[key * gk_at.row + channel] = T(of_keys[j][c] * scale);
            if (key < sizes.keys && channel < sizes.value_channels)
                gv[key * gv_at.row + channel] = T(of_values[j][c]);
        }
}
