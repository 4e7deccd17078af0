// The mask of dropout, computed where it is needed and never stored. Meaning: see keep_mask in backend/random.py.

struct Mask {
    Place place;        // of the stream: the mask is its numbers of 32 bits from there on
    unsigned smallest;  // that is kept; 0: everything is
    A value;            // the factor of what is kept
};

// The mask's numbers 8 block .. 8 block + 7: bit i says whether 8 block + i is kept.
__device__ unsigned kept_of_block(const Mask& mask, Index block)
{
    Word words[4];
    philox(mask.place, block, words);
    unsigned bits = 0;
    for (int i = 0; i < 8; i++)
        bits |= unsigned(unsigned(words[i / 2] >> 32 * (i % 2)) >= mask.smallest) << i;
    return bits;
}

// The factor of number i from the beginning of these bits on.
__device__ A factor(const Mask& mask, const unsigned char* bits, int i)
{
    return bits[i / 8] >> i % 8 & 1 ? mask.value : A(0);
}
