// Attention forward; see tiles.cu.

// y, and for each query the largest score and 1 / the sum of e^(score - largest).
extern "C" __global__ void __launch_bounds__(256)
attend(const T* q, Heads q_at, const T* k, Heads k_at, const T* v, Heads v_at, Mask mask,
       Sizes sizes, A scale, bool is_causal, T* y, Heads y_at, A* largest, A* r)
{
    __shared__ A q_tile[QUERIES][WIDTH], kv_tile[KEYS][WIDTH], weights[QUERIES][KEYS + 1];
    __shared__ unsigned char kept[QUERIES][KEPT];
    int row = threadIdx.x / 16, column = threadIdx.x % 16;
    int top = (gridDim.x - 1 - blockIdx.x) * QUERIES;  // in causal attention the last tiles have most to do
    int end = is_causal && top + QUERIES < sizes.keys ? top + QUERIES : sizes.keys;
    q = rows_of(q, q_at, sizes), k = rows_of(k, k_at, sizes), v = rows_of(v, v_at, sizes);
    y = rows_of(y, y_at, sizes);

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
        draw(kept, mask, top, left, sizes);
        __syncthreads();
        A s[QUERIES_EACH][KEYS_EACH];
        multiply(s, q_tile, kv_tile);
        __syncthreads();
        read_rows<KEYS>(kv_tile, v, v_at.row, left, sizes.keys, sizes.value_channels);
#pragma unroll
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
                A e = exp(s[i][j] - base);
                added += e;
                A times = factor(mask, kept, row + 16 * i, column + 16 * j, top, left, sizes);
                weights[row + 16 * i][column + 16 * j] = e * times;
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
