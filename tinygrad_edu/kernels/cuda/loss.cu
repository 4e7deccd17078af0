// Cross-entropy of rows of logits. A block takes a row; what is kept of it are its largest logit and the sum of
// e^(x - largest). A target that is no class gives NaN.

extern "C" __global__ void cross_entropy(const T* x, const Index* target, Index ignored, int classes, T* y, A* peak,
                                         A* total)
{
    const T* row = x + Index(blockIdx.x) * classes;
    A top = -INFINITE, sum = 0;  // of e^(x - top): one reading, as rows of a large vocabulary do not stay in the cache
    for (int j = threadIdx.x; j < classes; j += blockDim.x) {
        A logit = A(row[j]);
        if (logit > top) {
            sum = sum * exp(top - logit) + 1;
            top = logit;
        } else if (logit != -INFINITE) {
            sum += exp(logit - top);
        }
    }
    A own = top;
    top = over_block<Largest>(top);
    sum = over_block<Sum>(own == -INFINITE ? sum : sum * exp(own - top));
    if (threadIdx.x == 0) {
        Index t = target[blockIdx.x];
        A chosen = t >= 0 && t < classes ? A(row[t]) : INFINITE - INFINITE;
        y[blockIdx.x] = T(t == ignored ? A(0) : log(sum) - (chosen - top));
        peak[blockIdx.x] = top;
        total[blockIdx.x] = sum;
    }
}

// gx = (e^(x - peak) / total - [the target]) gy. gx may be x.
extern "C" __global__ void cross_entropy_backward(const T* x, const Index* target, Index ignored, int classes,
                                                  const A* peak, const A* total, const T* gy, T* gx)
{
    const T* row = x + Index(blockIdx.x) * classes;
    T* out = gx + Index(blockIdx.x) * classes;
    Index t = target[blockIdx.x];
    A g = t == ignored ? A(0) : A(gy[blockIdx.x]), top = peak[blockIdx.x], share = g / total[blockIdx.x];
    for (int j = threadIdx.x; j < classes; j += blockDim.x)
        out[j] = T(exp(A(row[j]) - top) * share - (j == t ? g : A(0)));
}
