// Activations. ACTIVATION is the name of one; of each there are its value and its derivative.
// A derivative takes what is saved: x, and of sigmoid and tanh the value.

__device__ A sigmoid(A x) { return 1 / (1 + exp(-x)); }
__device__ A sigmoid_slope(A y) { return y * (1 - y); }

__device__ A hyperbolic_tangent(A x) { return tanh(x); }
__device__ A hyperbolic_tangent_slope(A y) { return 1 - y * y; }

__device__ A silu(A x) { return x / (1 + exp(-x)); }
__device__ A silu_slope(A x)
{
    A s = sigmoid(x);
    return s + x * s * (1 - s);
}

// See GeluTanh in ops/activation.py for a and b.
#define GELU_A A(1.5957691216057308)
#define GELU_B A(0.071354816272600248)
__device__ A gelu_tanh(A x) { return x / (1 + exp((-GELU_B * x * x - GELU_A) * x)); }
__device__ A gelu_tanh_slope(A x)
{
    A s = 1 / (1 + exp((-GELU_B * x * x - GELU_A) * x));
    return ((3 * GELU_B * x * x + GELU_A) * x * (1 - s) + 1) * s;
}

__device__ A normal_distribution(A x) { return A(0.5) * erfc(x * A(-0.70710678118654752)); }
__device__ A gelu(A x) { return x * normal_distribution(x); }
__device__ A gelu_slope(A x)
{
    return normal_distribution(x) + x * (exp(A(-0.5) * x * x) * A(0.39894228040143268));
}

#define JOINED(name, suffix) name##suffix
#define SLOPE(name) JOINED(name, _slope)

extern "C" __global__ void forward(Index n, const T* x, T* y)
{
    for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += Index(gridDim.x) * blockDim.x)
        y[i] = T(ACTIVATION(A(x[i])));
}

// The same of x + bias, which is written over x; bias is of a row of so many columns.
extern "C" __global__ void forward_biased(Index n, unsigned columns, const T* bias, T* x, T* y)
{
    Index step = Index(gridDim.x) * blockDim.x, first = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    unsigned column = unsigned(first) % columns, further = unsigned(step) % columns;  // a division for each would tell
    for (Index i = first; i < n; i += step) {
        x[i] = plus(x[i], bias[column]);
        y[i] = T(ACTIVATION(A(x[i])));
        column += further;
        column -= column < columns ? 0 : columns;
    }
}

extern "C" __global__ void backward(Index n, const T* saved, const T* gy, T* gx)
{
    for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += Index(gridDim.x) * blockDim.x)
        gx[i] = T(SLOPE(ACTIVATION)(A(saved[i])) * A(gy[i]));
}
