//go:build linux

package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// leastNVRTC is the oldest compiler that is tried: the first for compute capability 9.0.
const leastNVRTC = 11*100 + 8

// leastHopper is the first that knows all instructions of that capability.
const leastHopper = 12 * 100

// nvrtc is NVIDIA's run-time compiler.
type nvrtc struct {
	library
	path    string
	version int // major·100 + minor

	getVersion, errorString, createProgram, destroyProgram, compileProgram uintptr
	logSize, log, cubinSize, cubin                                         uintptr
}

// nvrtcPatterns are where the library is looked for, after the loader's own places: where toolkits and Python's packages have it.
func nvrtcPatterns() []string {
	var p []string
	if dir := os.Getenv("CUDA_PATH"); dir != "" {
		p = append(p, dir+"/lib64/libnvrtc.so*", dir+"/lib/libnvrtc.so*")
	}
	p = append(p, "/usr/local/cuda*/lib64/libnvrtc.so*", "/usr/local/cuda*/targets/*/lib/libnvrtc.so*", "/opt/cuda*/lib64/libnvrtc.so*", "/usr/lib/*/libnvrtc.so*", "/usr/lib64/libnvrtc.so*")
	home, _ := os.UserHomeDir()
	for _, root := range []string{os.Getenv("VIRTUAL_ENV"), "/usr", "/usr/local", home + "/.local", "/opt/*"} {
		if root == "" {
			continue
		}
		for _, packages := range []string{"site-packages", "dist-packages"} {
			for _, part := range []string{"nvidia/cuda_nvrtc/lib", "nvidia/cu*/lib"} {
				p = append(p, filepath.Join(root, "lib/python3*", packages, part, "libnvrtc.so*"))
			}
		}
	}
	return p
}

// findNVRTC opens the newest compiler that there is.
func findNVRTC() (*nvrtc, error) {
	var paths []string
	if path := os.Getenv("ORRERY_NVRTC"); path != "" {
		paths = []string{path}
	} else {
		for major := 13; major >= 11; major-- {
			paths = append(paths, fmt.Sprintf("libnvrtc.so.%d", major))
		}
		paths = append(paths, "libnvrtc.so", "libnvrtc.so.11.2")
		var found []string
		for _, pattern := range nvrtcPatterns() {
			match, _ := filepath.Glob(pattern)
			found = append(found, slices.DeleteFunc(match, func(s string) bool { return strings.Contains(s, ".alt.") })...)
		}
		slices.Sort(found)
		slices.Reverse(found)
		paths = append(paths, found...)
	}
	tooOld := ""
	for _, path := range paths {
		handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			continue
		}
		n := &nvrtc{library: library{path, handle}, path: path}
		if err := n.symbols(map[string]*uintptr{
			"nvrtcVersion": &n.getVersion, "nvrtcGetErrorString": &n.errorString, "nvrtcCreateProgram": &n.createProgram, "nvrtcDestroyProgram": &n.destroyProgram,
			"nvrtcCompileProgram": &n.compileProgram, "nvrtcGetProgramLogSize": &n.logSize, "nvrtcGetProgramLog": &n.log,
			"nvrtcGetCUBINSize": &n.cubinSize, "nvrtcGetCUBIN": &n.cubin,
		}); err != nil {
			tooOld = err.Error()
			continue
		}
		var major, minor int32
		if call(n.getVersion, uintptr(unsafe.Pointer(&major)), uintptr(unsafe.Pointer(&minor))) != 0 {
			continue
		}
		n.version = int(major)*100 + int(minor)
		if n.version < leastNVRTC {
			tooOld = fmt.Sprintf("%s is version %d.%d", path, major, minor)
			continue
		}
		return n, nil
	}
	reason := "libnvrtc, CUDA's run-time compiler, is not found; install the CUDA toolkit or Python's package nvidia-cuda-nvrtc, or name the library in ORRERY_NVRTC"
	if tooOld != "" {
		reason = tooOld + "; CUDA 11.8 or later is needed"
	}
	return nil, &gpu.UnavailableError{Kind: "cuda", Reason: reason}
}

// options of every compilation, for an architecture such as sm_90.
func options(arch string) []string {
	return []string{"--gpu-architecture=" + arch, "--std=c++17", "--device-as-default-execution-space", "--extra-device-vectorization"}
}

// compile makes device code of a text.
func (n *nvrtc) compile(name, text, arch string) ([]byte, error) {
	fail := func(r int32) error {
		s, _, _ := purego.SyscallN(n.errorString, uintptr(r))
		return &gpu.CompileError{Unit: name, Compiler: n.name, Log: goString(s)}
	}
	source, title := cString(text), cString(name)
	var program uintptr
	if r := call(n.createProgram, uintptr(unsafe.Pointer(&program)), uintptr(unsafe.Pointer(&source[0])), uintptr(unsafe.Pointer(&title[0])), 0, 0, 0); r != 0 {
		return nil, fail(r)
	}
	defer func() { call(n.destroyProgram, uintptr(unsafe.Pointer(&program))) }()
	runtime.KeepAlive(source)
	runtime.KeepAlive(title)

	var texts [][]byte
	var pointers []unsafe.Pointer
	for _, o := range options(arch) {
		texts = append(texts, cString(o))
		pointers = append(pointers, unsafe.Pointer(&texts[len(texts)-1][0]))
	}
	r := call(n.compileProgram, program, uintptr(len(pointers)), uintptr(unsafe.Pointer(&pointers[0])))
	runtime.KeepAlive(texts)
	if r != 0 {
		var size uint64
		call(n.logSize, program, uintptr(unsafe.Pointer(&size)))
		log := make([]byte, size+1)
		call(n.log, program, uintptr(unsafe.Pointer(&log[0])))
		return nil, &gpu.CompileError{Unit: name, Compiler: n.name, Log: strings.TrimRight(string(log), "\x00\n")}
	}
	var size uint64
	if r := call(n.cubinSize, program, uintptr(unsafe.Pointer(&size))); r != 0 || size == 0 {
		return nil, fail(r)
	}
	code := make([]byte, size)
	if r := call(n.cubin, program, uintptr(unsafe.Pointer(&code[0]))); r != 0 {
		return nil, fail(r)
	}
	return code, nil
}
