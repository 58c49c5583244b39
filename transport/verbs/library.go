package verbs

import (
	"fmt"
	"os"
	"runtime"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/internal/dynlib"
)

// LibraryVariable is the environment variable that names the library to use instead of the system's.
const LibraryVariable = "ORRERY_VERBS_LIBRARY"

// Library is a libibverbs that has been loaded. It is never unloaded: drivers start threads of their own.
type Library struct {
	path string

	getDeviceList, freeDeviceList, getDeviceName       uintptr
	openDevice, closeDevice                            uintptr
	queryDevice, queryPort, queryGID, queryGIDEx       uintptr
	allocPD, deallocPD, regMR, deregMR                 uintptr
	createChannel, destroyChannel, getCQEvent, ackCQEv uintptr
	createCQ, destroyCQ                                uintptr
	createQP, modifyQP, destroyQP                      uintptr
}

// MissingError says that there is no library to load, or that it lacks a function.
type MissingError struct {
	Cause error

	named bool // it was asked for by name
}

// Error says what to install.
func (e *MissingError) Error() string {
	advice := "; install the package libibverbs1, and ibverbs-providers for the adapter's driver"
	switch {
	case e.named:
		advice = ""
	case runtime.GOOS == "darwin":
		advice = "; RDMA needs macOS 26.2 or later"
	}
	return fmt.Sprintf("the RDMA library cannot be loaded: %v%s", e.Cause, advice)
}

// Unwrap is the cause.
func (e *MissingError) Unwrap() error { return e.Cause }

// systemLibrary is the name under which the system has the library.
func systemLibrary() string {
	if runtime.GOOS == "darwin" {
		return "/usr/lib/librdma.dylib"
	}
	return "libibverbs.so.1"
}

// Open loads the library at path. If path is empty, that is the one that [LibraryVariable] names, or else
// the system's. The error is a [*MissingError].
func Open(path string) (*Library, error) {
	if path == "" {
		path = os.Getenv(LibraryVariable)
	}
	named := path != ""
	if !named {
		path = systemLibrary()
	}
	handle, err := dynlib.Open(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, &MissingError{err, named}
	}
	l := &Library{path: path}
	for name, f := range map[string]*uintptr{
		"ibv_get_device_list": &l.getDeviceList, "ibv_free_device_list": &l.freeDeviceList, "ibv_get_device_name": &l.getDeviceName,
		"ibv_open_device": &l.openDevice, "ibv_close_device": &l.closeDevice,
		"ibv_query_device": &l.queryDevice, "ibv_query_port": &l.queryPort, "ibv_query_gid": &l.queryGID,
		"ibv_alloc_pd": &l.allocPD, "ibv_dealloc_pd": &l.deallocPD, "ibv_reg_mr": &l.regMR, "ibv_dereg_mr": &l.deregMR,
		"ibv_create_cq": &l.createCQ, "ibv_destroy_cq": &l.destroyCQ,
		"ibv_create_qp": &l.createQP, "ibv_modify_qp": &l.modifyQP, "ibv_destroy_qp": &l.destroyQP,
	} {
		if *f, err = purego.Dlsym(handle, name); err != nil {
			return nil, &MissingError{err, named}
		}
	}
	// What a library may lack: the kinds of GIDs came late, and nobody has reported completion channels on macOS.
	for name, f := range map[string]*uintptr{
		"_ibv_query_gid_ex":       &l.queryGIDEx,
		"ibv_create_comp_channel": &l.createChannel, "ibv_destroy_comp_channel": &l.destroyChannel,
		"ibv_get_cq_event": &l.getCQEvent, "ibv_ack_cq_events": &l.ackCQEv,
	} {
		if sym, err := purego.Dlsym(handle, name); err == nil {
			*f = sym
		}
	}
	return l, nil
}

// Path is the name under which the library was found.
func (l *Library) Path() string { return l.path }
