package verbs

// PD is a protection domain: memory and queue pairs of one may be used together.
type PD struct {
	c   *Context
	ptr uintptr
}

// PD makes a protection domain.
func (c *Context) PD() (*PD, error) {
	ptr, err := object("ibv_alloc_pd", c.l.allocPD, c.ptr)
	if err != nil {
		return nil, err
	}
	return &PD{c, ptr}, nil
}

// Close ends the domain, after everything that was made in it.
func (p *PD) Close() error { return status("ibv_dealloc_pd", p.c.l.deallocPD, p.ptr) }

// Access is what may be done to registered memory: enum ibv_access_flags.
type Access int32

// The kinds of access. Reading by the adapter itself is always allowed.
const (
	LocalWrite  Access = 1 << iota // the adapter writes what it receives
	RemoteWrite                    // the peer writes, if it knows the key
	RemoteRead                     // the peer reads, if it knows the key
)

// MR is memory that the adapter may use.
type MR struct {
	LKey uint32 // names the memory in work requests

	l   *Library
	ptr uintptr
}

// Register makes the memory at address, of so many bytes, known to the adapter, and keeps it from being
// paged out. It has to be mapped, outside of Go's heap, until the MR is closed.
func (p *PD) Register(address uintptr, bytes int, access Access) (*MR, error) {
	ptr, err := object("ibv_reg_mr", p.c.l.regMR, p.ptr, address, uintptr(bytes), uintptr(access))
	if err != nil {
		return nil, err
	}
	return &MR{in[cMR](ptr).lkey, p.c.l, ptr}, nil
}

// Close ends the registration.
func (m *MR) Close() error { return status("ibv_dereg_mr", m.l.deregMR, m.ptr) }
