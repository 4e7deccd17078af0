// A second GPU for the emulated one, loaded before it (LD_PRELOAD): what CuPy asks HIP passes here first.
//
// Memory, streams, events and modules belong to the GPU that was the current one of the thread that made them. As on
// GPUs without access to each other's memory, a kernel reaches that of its own alone: that of the other is locked
// while it runs, so that a wrong address fails there as it does on a GPU.

#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

namespace {
const int COUNT = 2;
enum { OK = 0, INVALID_DEVICE = 101, INVALID_HANDLE = 400 };
const size_t PAGE = 4096;

struct Block { void* inside; size_t size; int device; };  // inside: the emulation's block that it was cut from
std::map<char*, Block> blocks;
std::map<const void*, int> owners;  // of streams, events, modules and functions
std::mutex mutex;
thread_local int current = 0;

template <class F> F next(const char* name) {
    static void* library = dlopen("libamdhip64.so.7", RTLD_LAZY);
    return (F)dlsym(library, name);
}
#define NEXT(name, ...) next<int (*)(...)>(name)(__VA_ARGS__)

int owned(int status, void* const* made) {
    std::lock_guard<std::mutex> lock(mutex);
    if (status == OK) owners[*made] = current;
    return status;
}
int owner(const void* x) {  // of the default streams, which have no address: the current GPU
    std::lock_guard<std::mutex> lock(mutex);
    auto found = owners.find(x);
    return found == owners.end() ? current : found->second;
}
bool here(const void* x) { return owner(x) == current; }

void lock_others(int how) {
    for (auto& [start, block] : blocks)
        if (block.device != current) mprotect(start, block.size, how);
}
}  // namespace

extern "C" {
int hipGetDeviceCount(int* n) { *n = COUNT; return OK; }
int hipGetDevice(int* device) { *device = current; return OK; }
int hipSetDevice(int device) {
    if (device < 0 || device >= COUNT) return INVALID_DEVICE;
    current = device;
    return OK;
}
int hipDeviceGetAttribute(int* value, int attribute, int device) {
    return device < COUNT ? NEXT("hipDeviceGetAttribute", value, attribute, 0) : INVALID_DEVICE;
}
int hipGetDevicePropertiesR0600(char* properties, int device) {  // they begin with the name
    if (device < 0 || device >= COUNT) return INVALID_DEVICE;
    int status = NEXT("hipGetDevicePropertiesR0600", properties, 0);
    if (status == OK) snprintf(properties + strlen(properties), 16, " number %d", device);
    return status;
}
int hipDeviceCanAccessPeer(int* can, int, int) { *can = 0; return OK; }

int hipMalloc(void** p, size_t n) {
    size_t size = (n + PAGE - 1) / PAGE * PAGE;  // whole pages, as only these can be locked
    void* inside = nullptr;
    int status = NEXT("hipMalloc", &inside, n ? size + PAGE : 0);
    *p = nullptr;
    if (status != OK || !inside) return status;
    *p = (char*)inside + PAGE - (size_t)inside % PAGE;
    std::lock_guard<std::mutex> lock(mutex);
    blocks[(char*)*p] = Block{inside, size, current};
    return OK;
}
int hipFree(void* p) {
    if (!p) return OK;
    std::unique_lock<std::mutex> lock(mutex);
    auto found = blocks.find((char*)p);
    if (found == blocks.end()) return NEXT("hipFree", p);
    void* inside = found->second.inside;
    blocks.erase(found);
    lock.unlock();
    return NEXT("hipFree", inside);
}
int hipMemGetInfo(size_t* available, size_t* total) {
    int status = NEXT("hipMemGetInfo", available, total);
    std::lock_guard<std::mutex> lock(mutex);
    *available = *total;
    for (auto& [start, block] : blocks)
        if (block.device == current) *available -= block.size;
    return status;
}
struct PointerAttributes { int type, device; void *device_pointer, *host_pointer; int managed; unsigned flags; };
int hipPointerGetAttributes(PointerAttributes* attributes, const void* p) {
    int status = NEXT("hipPointerGetAttributes", attributes, p);
    std::lock_guard<std::mutex> lock(mutex);
    auto found = blocks.upper_bound((char*)p);
    if (status == OK && found != blocks.begin() && (char*)p < (--found)->first + found->second.size)
        attributes->device = found->second.device;
    return status;
}

int hipStreamCreate(void** s) { return owned(NEXT("hipStreamCreate", s), s); }
int hipStreamCreateWithFlags(void** s, unsigned flags) { return owned(NEXT("hipStreamCreateWithFlags", s, flags), s); }
int hipStreamCreateWithPriority(void** s, unsigned flags, int priority) {
    return owned(NEXT("hipStreamCreateWithPriority", s, flags, priority), s);
}
int hipEventCreate(void** e) { return owned(NEXT("hipEventCreate", e), e); }
int hipEventCreateWithFlags(void** e, unsigned flags) { return owned(NEXT("hipEventCreateWithFlags", e, flags), e); }
int hipEventRecord(void* e, void* s) { return owner(e) == owner(s) ? NEXT("hipEventRecord", e, s) : INVALID_HANDLE; }
int hipEventElapsedTime(float* ms, void* a, void* b) {
    return owner(a) == owner(b) ? NEXT("hipEventElapsedTime", ms, a, b) : INVALID_HANDLE;
}

int hipModuleLoad(void** m, const char* path) { return owned(NEXT("hipModuleLoad", m, path), m); }
int hipModuleLoadData(void** m, const void* image) { return owned(NEXT("hipModuleLoadData", m, image), m); }
int hipModuleGetFunction(void** f, void* m, const char* name) {
    int status = NEXT("hipModuleGetFunction", f, m, name), device = owner(m);
    std::lock_guard<std::mutex> lock(mutex);
    if (status == OK) owners[*f] = device;
    return status;
}
int hipModuleLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void* stream, void** arguments, void** extra) {
    if (!here(f) || !here(stream)) return INVALID_HANDLE;
    std::lock_guard<std::mutex> lock(mutex);
    lock_others(PROT_NONE);
    int status = NEXT("hipModuleLaunchKernel", f, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra);
    lock_others(PROT_READ | PROT_WRITE);
    return status;
}
}
