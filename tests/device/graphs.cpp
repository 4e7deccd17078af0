// Graphs for the emulated GPU, which has none; loaded before it (LD_PRELOAD): what CuPy asks HIP passes here first.
//
// As on a GPU, work put into a capturing stream is not done but noted, with the arguments that it has then; a launch of
// the graph does it, and reads what memory holds by then. What waits for a capturing stream fails and ends the capture.

#include <dlfcn.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

namespace {
enum { OK = 0, UNSUPPORTED = 900, INVALIDATED = 901, UNMATCHED = 902, CAPTURED_EVENT = 907 };

using Work = std::function<int()>;
struct Graph { std::vector<Work> works; };
struct Capture { Graph* graph; bool valid; };
std::map<void*, Capture> captures;        // by stream
std::map<void*, void*> streams_of_blas;   // by handle
std::set<void*> captured_events;
std::recursive_mutex mutex;

template <class F> F next(const char* library, const char* name) { return (F)dlsym(dlopen(library, RTLD_LAZY), name); }
#define HIP(name, ...) next<int (*)(...)>("libamdhip64.so.7", name)(__VA_ARGS__)

Capture* capture_in(void* stream) {
    auto found = captures.find(stream);
    return found == captures.end() ? nullptr : &found->second;
}
int in(void* stream, Work work) {  // now, or when the graph is launched
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Capture* capture = capture_in(stream);
    if (!capture) return work();
    capture->graph->works.push_back(work);
    return OK;
}
bool waits_for_a_capture(void* stream, bool any = false) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    bool found = false;
    for (auto& [of, capture] : captures)
        if (any || of == stream) { capture.valid = false; found = true; }
    return found;
}

// What can be read here of up to n bytes. Neither the number of a kernel's arguments nor their sizes are known.
std::vector<char> readable(const void* from, size_t n) {
    const size_t PIECE = 64;
    std::vector<char> bytes(n);
    iovec to{bytes.data(), n};
    std::vector<iovec> pieces;
    for (size_t at = 0; at < n; at += PIECE) pieces.push_back({(char*)from + at, PIECE});
    ssize_t count = process_vm_readv(getpid(), &to, 1, pieces.data(), pieces.size(), 0);
    bytes.resize(count < 0 ? 0 : count);
    return bytes;
}
struct Arguments {
    std::vector<std::vector<char>> values;
    std::vector<void*> addresses;
    explicit Arguments(void** given) {
        for (int i = 0; i < 64; i++) {
            std::vector<char> address = readable(given + i, 64), value;
            if (address.size()) value = readable(*(void**)address.data(), 4096);
            if (value.empty()) break;
            values.push_back(value);
        }
        for (auto& value : values) addresses.push_back(value.data());
    }
};
template <class T> struct Scalar {  // alpha and beta are read at the call
    T value;
    explicit Scalar(const void* p) { memcpy(&value, p, sizeof(T)); }
};
}  // namespace

extern "C" {
int hipStreamBeginCapture(void* stream, int) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    captures[stream] = Capture{new Graph, true};
    return OK;
}
int hipStreamEndCapture(void* stream, Graph** graph) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Capture* capture = capture_in(stream);
    if (!capture) return UNMATCHED;
    bool valid = capture->valid;
    *graph = valid ? capture->graph : nullptr;
    captures.erase(stream);
    return valid ? OK : INVALIDATED;
}
int hipStreamIsCapturing(void* stream, int* status) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Capture* capture = capture_in(stream);
    *status = !capture ? 0 : capture->valid ? 1 : 2;
    return OK;
}
int hipGraphInstantiate(Graph** instance, Graph* graph, ...) { *instance = new Graph(*graph); return OK; }
int hipGraphDestroy(Graph* graph) { delete graph; return OK; }
int hipGraphExecDestroy(Graph* instance) { delete instance; return OK; }
int hipGraphLaunch(Graph* instance, void*) {
    for (auto& work : instance->works)
        if (int status = work()) return status;
    return OK;
}

int hipModuleLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void* stream, void** given, void** extra) {
    {
        std::lock_guard<std::recursive_mutex> lock(mutex);
        if (!capture_in(stream))
            return HIP("hipModuleLaunchKernel", f, gx, gy, gz, bx, by, bz, shared, stream, given, extra);
    }
    auto arguments = std::make_shared<Arguments>(given);
    return in(stream, [=] {
        void** values = arguments->addresses.data();
        return HIP("hipModuleLaunchKernel", f, gx, gy, gz, bx, by, bz, shared, (void*)0, values, (void**)0);
    });
}
int hipMemcpyAsync(void* to, const void* from, size_t n, int kind, void* stream) {
    return in(stream, [=] { return HIP("hipMemcpy", to, from, n, kind); });
}
int hipMemsetAsync(void* p, int value, size_t n, void* stream) {
    return in(stream, [=] { return HIP("hipMemset", p, value, n); });
}
int hipStreamSynchronize(void* stream) {
    return waits_for_a_capture(stream) ? UNSUPPORTED : HIP("hipStreamSynchronize", stream);
}
int hipStreamQuery(void* stream) { return waits_for_a_capture(stream) ? UNSUPPORTED : HIP("hipStreamQuery", stream); }
int hipDeviceSynchronize() { return waits_for_a_capture(nullptr, true) ? UNSUPPORTED : HIP("hipDeviceSynchronize"); }
int hipEventRecord(void* event, void* stream) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    if (!capture_in(stream)) {
        captured_events.erase(event);
        return HIP("hipEventRecord", event, stream);
    }
    captured_events.insert(event);
    return OK;
}
int hipEventQuery(void* event) { return captured_events.count(event) ? CAPTURED_EVENT : HIP("hipEventQuery", event); }
int hipEventSynchronize(void* event) {
    return captured_events.count(event) ? CAPTURED_EVENT : HIP("hipEventSynchronize", event);
}
struct PointerAttributes { int type, device; void *device_pointer, *host_pointer; int managed; unsigned flags; };
int hipPointerGetAttributes(PointerAttributes* attributes, const void* p) {  // as CUDA: other memory is not pinned
    int status = HIP("hipPointerGetAttributes", attributes, p);
    if (status == OK && attributes->device == -2) attributes->type = 9;
    return status;
}

#define BLAS(name, ...) next<int (*)(...)>("libhipblas.so.3", name)(__VA_ARGS__)
int hipblasSetStream(void* h, void* stream) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    streams_of_blas[h] = stream;
    return BLAS("hipblasSetStream", h, stream);
}
#define PRODUCTS(P, T) \
    int hipblas##P##gemm(void* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda, \
                         const T* b, int ldb, const T* beta, T* c, int ldc) { \
        Scalar<T> one(alpha), zero(beta); \
        return in(streams_of_blas[h], [=] { \
            return BLAS("hipblas" #P "gemm", h, ta, tb, m, n, k, &one.value, a, lda, b, ldb, &zero.value, c, ldc); \
        }); \
    } \
    int hipblas##P##gemv(void* h, int t, int m, int n, const T* alpha, const T* a, int lda, const T* x, int incx, \
                         const T* beta, T* y, int incy) { \
        Scalar<T> one(alpha), zero(beta); \
        return in(streams_of_blas[h], [=] { \
            return BLAS("hipblas" #P "gemv", h, t, m, n, &one.value, a, lda, x, incx, &zero.value, y, incy); \
        }); \
    } \
    int hipblas##P##gemmStridedBatched(void* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, \
                                       int lda, long long sa, const T* b, int ldb, long long sb, const T* beta, T* c, \
                                       int ldc, long long sc, int count) { \
        Scalar<T> one(alpha), zero(beta); \
        return in(streams_of_blas[h], [=] { \
            return BLAS("hipblas" #P "gemmStridedBatched", h, ta, tb, m, n, k, &one.value, a, lda, sa, b, ldb, sb, \
                        &zero.value, c, ldc, sc, count); \
        }); \
    }
PRODUCTS(S, float)
PRODUCTS(D, double)
int hipblasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda,
                  const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, int compute, int how) {
    Scalar<double> one(alpha), zero(beta);  // as many bytes as any type of theirs has
    return in(streams_of_blas[h], [=] {
        return BLAS("hipblasGemmEx", h, ta, tb, m, n, k, &one.value, a, at, lda, b, bt, ldb, &zero.value, c, ct, ldc,
                    compute, how);
    });
}
int hipblasGemmStridedBatchedEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at,
                                int lda, long long sa, const void* b, int bt, int ldb, long long sb, const void* beta,
                                void* c, int ct, int ldc, long long sc, int count, int compute, int how) {
    Scalar<double> one(alpha), zero(beta);
    return in(streams_of_blas[h], [=] {
        return BLAS("hipblasGemmStridedBatchedEx", h, ta, tb, m, n, k, &one.value, a, at, lda, sa, b, bt, ldb, sb,
                    &zero.value, c, ct, ldc, sc, count, compute, how);
    });
}
}

// The emulation sorts on the CPU, in functions that take the place of CuPy's.
using Shape = std::vector<ptrdiff_t>;
const char* const SORTING = "libcupy_on_cpu.so";
void thrust_argsort(int type, size_t* order, void* data, void* keys, const Shape& shape, intptr_t stream,
                    void* memory) {
    auto sort = next<decltype(&thrust_argsort)>(SORTING, "_Z14thrust_argsortiPmPvS0_RKSt6vectorIlSaIlEElS0_");
    in((void*)stream, [=] { sort(type, order, data, keys, shape, stream, memory); return 0; });
}
void thrust_sort(int type, void* data, size_t* keys, const Shape& shape, intptr_t stream, void* memory) {
    auto sort = next<decltype(&thrust_sort)>(SORTING, "_Z11thrust_sortiPvPmRKSt6vectorIlSaIlEElS_");
    in((void*)stream, [=] { sort(type, data, keys, shape, stream, memory); return 0; });
}
