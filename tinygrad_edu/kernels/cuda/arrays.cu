// What happens to many arrays at once. Their addresses are among the arguments, so that nothing is copied to the device
// beforehand; a launch takes at most LISTED arrays, LISTS pointers of each. Blocks have BLOCK elements of one array.

struct Arrays {
    unsigned long long at[LISTS][LISTED];  // addresses
    unsigned size[LISTED];
};

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
