package metal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/internal/gated"
)

// Of MTLCommandBufferStatus.
const (
	statusCompleted = 4
	statusFailed    = 5
)

const (
	poolIndex = 0
	poolAlign = 16 // the least, and what lengths must be multiples of
	readWrite = 3  // MTLResourceUsageRead and MTLResourceUsageWrite
)

// commands is a command queue. It implements [gated.Device].
type commands struct {
	*Host
	queue mtlCommandQueue

	encoder         mtlComputeCommandEncoder // of the batch that is encoded, or none
	pool            int                      // bytes of threadgroup memory that the encoder has
	groups, threads mtlSize                  // passed by reference
	listed          []object                 // buffers that launches reach by address
}

var _ gated.Device = (*commands)(nil)

// Close implements [gated.Device].
func (c *commands) Close() error {
	nsObject(c.queue).release()
	return nil
}

// check says what is wrong with a launch.
func (c *commands) check(s *gated.Step) error {
	k, ok := s.Kernel.(*kernel)
	if !ok || k.host != c.Host {
		return fmt.Errorf("metal: the kernel %s is not of this device", s.Kernel.Name())
	}
	if s.Grid.Threads > k.threads || k.static+poolRoom(s.Grid.Pool) > c.info.Pool {
		return fmt.Errorf("metal: %s cannot run in groups of %d threads with %d bytes of threadgroup memory; the most is %d, and %d bytes", k.name, s.Grid.Threads, k.static+s.Grid.Pool, k.threads, c.info.Pool)
	}
	for i, r := range s.Buffers {
		if b, ok := r.Buffer.(*buffer); !ok || b.buffer.object == 0 || b.host != c.Host {
			return fmt.Errorf("metal: argument %d of %s is not a buffer of this device, or was freed", i, k.name)
		}
	}
	return nil
}

// Submit implements [gated.Device].
func (c *commands) Submit(steps []gated.Step) (gated.Batch, error) {
	for i := range steps {
		if steps[i].Kernel == nil {
			continue
		}
		if err := c.check(&steps[i]); err != nil {
			return nil, err
		}
	}
	c.listing.Lock()
	c.listed = slices.AppendSeq(c.listed[:0], maps.Keys(c.Host.listed))
	c.listing.Unlock()
	var b *batch
	var err error
	pooled(func() {
		made := mtlCommandBuffer{nsObject(c.queue.commandBuffer()).retain()}
		if err = c.encode(made, steps); err != nil {
			nsObject(made).release()
			return
		}
		made.commit()
		b = &batch{made}
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// encode puts steps into a command buffer. A message to nil would do nothing, silently, so nil is an error.
func (c *commands) encode(to mtlCommandBuffer, steps []gated.Step) error {
	if to.object == 0 {
		return errors.New("metal: the queue makes no command buffer")
	}
	defer c.end()
	for i := range steps {
		switch s := &steps[i]; {
		case s.Wait != nil:
			c.end()
			to.encodeWait(s.Wait.(event).event, s.Count)
		case s.Signal != nil:
			c.end()
			to.encodeSignal(s.Signal.(event).event, s.Count)
		default:
			if err := c.begin(to); err != nil {
				return err
			}
			c.launch(s)
			if s.Settle {
				c.end()
			}
		}
	}
	return nil
}

// begin makes an encoder if there is none. Its launches run one after the other.
func (c *commands) begin(to mtlCommandBuffer) error {
	if c.encoder.object != 0 {
		return nil
	}
	if c.encoder = to.computeEncoder(); c.encoder.object == 0 {
		return errors.New("metal: the command buffer makes no encoder")
	}
	c.pool = -1
	// So they are in reach, and encoders that might use the same memory in this way do not overlap.
	if len(c.listed) > 0 {
		c.encoder.useResources(&c.listed[0], len(c.listed), readWrite)
	}
	return nil
}

func (c *commands) end() {
	if c.encoder.object != 0 {
		mtlCommandEncoder(c.encoder).endEncoding()
		c.encoder.object = 0
	}
}

// poolRoom is a length of threadgroup memory that Metal takes.
func poolRoom(n int) int { return (n + poolAlign - 1) / poolAlign * poolAlign }

func (c *commands) launch(s *gated.Step) {
	k := s.Kernel.(*kernel)
	c.encoder.setPipeline(k.pipeline)
	for i, r := range s.Buffers {
		c.encoder.setBuffer(r.Buffer.(*buffer).buffer, uint64(r.Offset), i)
	}
	if len(s.Value) > 0 {
		c.encoder.setBytes(unsafe.Pointer(unsafe.SliceData(s.Value)), len(s.Value), len(s.Buffers))
	}
	// It stays from launch to launch; a kernel that wants none must not have what another one wanted. Every kernel has the argument, so there is some if it fits.
	pool := poolRoom(s.Grid.Pool)
	if pool == 0 && k.static+poolAlign <= c.info.Pool {
		pool = poolAlign
	}
	if pool != c.pool {
		c.encoder.setThreadgroupMemory(uint64(pool), poolIndex)
		c.pool = pool
	}
	c.threads = mtlSize{uint64(s.Grid.Threads), 1, 1}
	if s.Groups.Buffer != nil {
		c.encoder.dispatchIndirect(s.Groups.Buffer.(*buffer).buffer, uint64(s.Groups.Offset), &c.threads)
		return
	}
	c.groups = mtlSize{uint64(s.Grid.X), uint64(s.Grid.Y), uint64(s.Grid.Z)}
	c.encoder.dispatch(&c.groups, &c.threads)
}

// batch is a command buffer.
type batch struct{ buffer mtlCommandBuffer }

// Done implements [gated.Batch].
func (b *batch) Done() (done bool, err error) {
	switch b.buffer.status() {
	case statusCompleted:
		return true, nil
	case statusFailed:
		pooled(func() {
			e := b.buffer.failure()
			code := 0
			if e.object != 0 {
				code = e.code()
			}
			err = fmt.Errorf("metal: a kernel failed: %s (%d)", e.describe(), code)
		})
		return true, err
	}
	return false, nil
}

// Times implements [gated.Batch].
func (b *batch) Times() (begin, end time.Duration) {
	return seconds(b.buffer.gpuStart()), seconds(b.buffer.gpuEnd())
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Release implements [gated.Batch].
func (b *batch) Release() { nsObject(b.buffer).release() }

// event is a shared event.
type event struct{ event mtlSharedEvent }

// NewEvent implements [gated.Device].
func (c *commands) NewEvent() (gated.Event, error) {
	e := c.device.newSharedEvent()
	if e.object == 0 {
		return nil, errors.New("metal: the device makes no event")
	}
	return event{e}, nil
}

func (e event) Set(v uint64)  { e.event.setSignaledValue(v) }
func (e event) Value() uint64 { return e.event.signaledValue() }
func (e event) Release()      { nsObject(e.event).release() }
