// What happens to many arrays at once. Where they are is among the arguments, so that nothing is copied to the device
// beforehand; a launch takes at most LISTED arrays, LISTS pointers of each. Blocks have BLOCK elements of one array.

struct Arrays {
#if WIDE
    unsigned long long at[LISTS][LISTED];  // addresses
#else
    unsigned long long lowest;             // an address
    unsigned shift, at[LISTS][LISTED];     // how far behind it, in steps of 1 << shift bytes
#endif
    unsigned size[LISTED];
};

// The start of an array in a list.
__device__ T* start_of(const Arrays& arrays, int list, int array)
{
#if WIDE
    return (T*)arrays.at[list][array];
#else
    return (T*)(arrays.lowest + ((unsigned long long)arrays.at[list][array] << arrays.shift));
#endif
}

struct Part {
    int array;
    unsigned start, end;
};

// The elements of this block.
__device__ Part part_of_block(const Arrays& arrays)
{
    unsigned block = blockIdx.x;
    int k = 0;
    for (unsigned blocks; block >= (blocks = (arrays.size[k] + BLOCK - 1) / BLOCK); k++)
        block -= blocks;
    unsigned start = block * BLOCK, rest = arrays.size[k] - start;
    return {k, start, start + (rest < BLOCK ? rest : BLOCK)};
}
