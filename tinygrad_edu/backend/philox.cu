// The bits of Philox-4x64-10: those of NumPy's `Philox`, at any place of a stream.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

typedef unsigned long long Word;

struct Place {
    Word key[2], counter[4];
};

// The four words of a block, counted from this place on.
__device__ void philox(const Place& place, Word block, Word (&words)[4])
{
    const Word steps = block + 1;  // NumPy counts up before it makes a block
    Word x0 = place.counter[0] + steps, x1 = place.counter[1], x2 = place.counter[2], x3 = place.counter[3];
    bool carry = x0 < steps;
    x1 += carry, carry = carry && x1 == 0;
    x2 += carry, carry = carry && x2 == 0;
    x3 += carry;
    Word k0 = place.key[0], k1 = place.key[1];
    for (int round = 0; round < 10; round++) {
        const Word low0 = 0xD2E7470EE14C6C93ULL * x0, high0 = __umul64hi(0xD2E7470EE14C6C93ULL, x0);
        const Word low1 = 0xCA5A826395121157ULL * x2, high1 = __umul64hi(0xCA5A826395121157ULL, x2);
        x0 = high1 ^ x1 ^ k0, x1 = low1;
        x2 = high0 ^ x3 ^ k1, x3 = low0;
        k0 += 0x9E3779B97F4A7C15ULL, k1 += 0xBB67AE8584CAA73BULL;
    }
    words[0] = x0, words[1] = x1, words[2] = x2, words[3] = x3;
}
