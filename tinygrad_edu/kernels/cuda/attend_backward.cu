// The gradients of attention; see tiles.cu.

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
                                 const Mask& mask, const unsigned char (*kept)[KEPT], const Sizes& sizes, A scale,
                                 bool is_causal, const A* largest, const A* r, const A* along)
{
    Index first = Index(blockIdx.y) * sizes.queries;
    for (int i = 0; i < QUERIES_EACH; i++)
        for (int j = 0; j < KEYS_EACH; j++) {
            int row = threadIdx.x / 16 + 16 * i, column = threadIdx.x % 16 + 16 * j, query = top + row;
            if (!sees(query, left + column, sizes, is_causal)) {
                p[i][j] = gp[i][j] = 0;
                continue;
            }
            A weight = exp(p[i][j] * scale - largest[first + query]) * r[first + query];
            A times = factor(mask, kept, row, column, top, left, sizes);
            gp[i][j] = weight * (gp[i][j] * times - along[first + query]);
            p[i][j] = weight * times;
        }
}

// The gradients of queries: a block has a tile of them and goes over the keys.
extern "C" __global__ void __launch_bounds__(256)
attend_backward_q(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, Mask mask,
                  Sizes sizes, A scale, bool is_causal, const A* largest, const A* r, const A* along, const T* gy,
                  Heads gy_at, T* gq, Heads gq_at)
{
    __shared__ A q_tile[QUERIES][WIDTH], gy_tile[QUERIES][WIDTH], k_tile[KEYS][WIDTH], v_tile[KEYS][WIDTH];
    __shared__ A gs[QUERIES][KEYS + 1];
    __shared__ unsigned char kept[QUERIES][KEPT];
    int row = threadIdx.x / 16, column = threadIdx.x % 16, top = (gridDim.x - 1 - blockIdx.x) * QUERIES;
    int end = is_causal && top + QUERIES < sizes.keys ? top + QUERIES : sizes.keys;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    gy = rows_of(gy, gy_at, sizes), gq = rows_of(gq, gq_at, sizes);

    A out[QUERIES_EACH][CHANNELS_EACH] = {};
    read_rows<QUERIES>(q_tile, q, q_at.row, top, sizes.queries, sizes.channels);
    read_rows<QUERIES>(gy_tile, gy, gy_at.row, top, sizes.queries, sizes.value_channels);
    for (int left = 0; left < end; left += KEYS) {
        __syncthreads();
        read_rows<KEYS>(k_tile, k, k_at.row, left, sizes.keys, sizes.channels);
        read_rows<KEYS>(v_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
        draw(kept, mask, top, left, sizes);
        __syncthreads();
        A p[QUERIES_EACH][KEYS_EACH], gp[QUERIES_EACH][KEYS_EACH];
        multiply(p, q_tile, k_tile);
        multiply(gp, gy_tile, v_tile);
        softmax_backward(p, gp, top, left, mask, kept, sizes, scale, is_causal, largest, r, along);
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
attend_backward_kv(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, Mask mask,
                   Sizes sizes, A scale, bool is_causal, const A* largest, const A* r, const A* along, const T* gy,
                   Heads gy_at, T* gk, Heads gk_at, T* gv, Heads gv_at)
{
    __shared__ A q_tile[QUERIES][WIDTH], gy_tile[QUERIES][WIDTH], k_tile[KEYS][WIDTH], v_tile[KEYS][WIDTH];
    __shared__ A weights[QUERIES][KEYS + 1], gs[QUERIES][KEYS + 1];
    __shared__ unsigned char kept[QUERIES][KEPT];
    int row = threadIdx.x / 16, column = threadIdx.x % 16, left = blockIdx.x * KEYS;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    gy = rows_of(gy, gy_at, sizes), gk = rows_of(gk, gk_at, sizes), gv = rows_of(gv, gv_at, sizes);

    A of_keys[KEYS_EACH][CHANNELS_EACH] = {}, of_values[KEYS_EACH][CHANNELS_EACH] = {};
    read_rows<KEYS>(k_tile, k, k_at.row, left, sizes.keys, sizes.channels);
    read_rows<KEYS>(v_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
    for (int top = is_causal ? left / QUERIES * QUERIES : 0; top < sizes.queries; top += QUERIES) {
        __syncthreads();
        read_rows<QUERIES>(q_tile, q, q_at.row, top, sizes.queries, sizes.channels);
        read_rows<QUERIES>(gy_tile, gy, gy_at.row, top, sizes.queries, sizes.value_channels);
        draw(kept, mask, top, left, sizes);
        __syncthreads();
        A p[QUERIES_EACH][KEYS_EACH], gp[QUERIES_EACH][KEYS_EACH];
        multiply(p, q_tile, k_tile);
        multiply(gp, gy_tile, v_tile);
        softmax_backward(p, gp, top, left, mask, kept, sizes, scale, is_causal, largest, r, along);
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
