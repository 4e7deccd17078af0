// Adam's step of all parameters; see arrays.cu.

// rate = lr / (1 - beta1^step), root = 1 / sqrt(1 - beta2^step).
struct Numbers {
    A rate, root, share1, beta2, share2, eps, decay, shrink;
};

struct Kinds {
    Numbers numbers[KINDS];
    unsigned char of[LISTED];  // by array, which numbers are its own
};

// Arguments of a captured launch stay what they were. So a graph reads the numbers from memory, where this puts them.
extern "C" __global__ void note(Kinds kinds, Numbers* noted)
{
    noted[threadIdx.x] = kinds.numbers[threadIdx.x];
}

// p, g, m, v. noted: the numbers, in the place of those in kinds; or null.
extern "C" __global__ void adam(Arrays arrays, Kinds kinds, const Numbers* noted)
{
    Part part = part_of_block(arrays);
    Numbers n = kinds.numbers[kinds.of[part.array]];
    if (noted)
        n = noted[kinds.of[part.array]];
    T *p = start_of(arrays, 0, part.array), *m = start_of(arrays, 2, part.array), *v = start_of(arrays, 3, part.array);
    const T* g = start_of(arrays, 1, part.array);
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x) {
        A x = A(g[i]) + n.decay * A(p[i]), mean = A(m[i]), square = A(v[i]);
        mean += n.share1 * (x - mean);
        square = n.beta2 * square + n.share2 * x * x;
        m[i] = T(mean);
        v[i] = T(square);
        p[i] = T(n.shrink * A(p[i]) - n.rate * mean / (sqrt(square) * n.root + n.eps));
    }
}
