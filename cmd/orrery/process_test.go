package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/internal/standin"
)

// program is the command, as TestMain built it.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "orrery-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "orrery")
	linked := filepath.Join(dir, "linked")
	build := exec.Command("go", "build", "-o", linked, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		os.Exit(1)
	}
	if err := install(linked, program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Of the commands that are started: what they measure is ours. Not of the build, whose own cache lies there.
	os.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		standin.Clean()
		os.Exit(code)
	}))
}

// install copies a program, as users have it. Of one that the linker has just written, Linux maps more around each page
// that is used, so that processes are some MiB larger.
func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Bounds on what a test waits for. They end a test that hangs; none is a claim about speed.
const (
	readyWithin = 60 * time.Second
	exitWithin  = 60 * time.Second
	longWithin  = 180 * time.Second
)

// output is what a process printed so far.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and replaced at every write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// until waits for output that done accepts.
func (o *output) until(within time.Duration, done func(string) bool) bool {
	late := time.After(within)
	for {
		o.mu.Lock()
		text, more := o.b.String(), o.more
		o.mu.Unlock()
		if done(text) {
			return true
		}
		select {
		case <-more:
		case <-late:
			return false
		}
	}
}

// command is the program on its way.
type command struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	ended  chan struct{} // closed once it has ended, and err and at are set
	err    error
	at     time.Time
}

// start starts the program. It is killed at the test's end, if it still runs.
func start(t testing.TB, args ...string) *command {
	t.Helper()
	return startWith(t, nil, args...)
}

func startWith(t testing.TB, stdin io.Reader, args ...string) *command {
	t.Helper()
	return startCommand(t, stdin, exec.Command(program, args...))
}

func startCommand(t testing.TB, stdin io.Reader, cmd *exec.Cmd) *command {
	t.Helper()
	c := &command{t: t, cmd: cmd, stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = stdin, c.stdout, c.stderr
	c.cmd.WaitDelay = exitWithin // its node processes hold its standard error a little longer
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		c.err = c.cmd.Wait()
		c.at = time.Now()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended // Wait ends WaitDelay after the kill at the latest
		if t.Failed() {
			t.Logf("orrery %.200s\nstdout: %.2000s\nstderr: %.4000s", strings.Join(cmd.Args[1:], " "), c.stdout, c.stderr)
		}
	})
	return c
}

// signal sends a signal.
func (c *command) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// wait waits for the end, and gives the exit status. A process that hangs is asked for its stacks.
func (c *command) wait(within time.Duration) int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(within):
		_ = c.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-c.ended:
		case <-time.After(exitWithin):
		}
		c.t.Fatalf("orrery %.200s: it did not end within %v\nstdout: %.2000s\nstderr: %.20000s", strings.Join(c.cmd.Args[1:], " "), within, c.stdout, c.stderr)
	}
	var exit *exec.ExitError
	if c.err != nil && !errors.As(c.err, &exit) {
		c.t.Fatalf("orrery %.200s: %v", strings.Join(c.cmd.Args[1:], " "), c.err)
	}
	return c.cmd.ProcessState.ExitCode()
}

// run runs the program to its end.
func run(t testing.TB, within time.Duration, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := start(t, args...)
	status = c.wait(within)
	return c.stdout.String(), c.stderr.String(), status
}

// logs waits for what a process is to write to its standard error: it is behind what the process has done.
func (c *command) logs(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if !c.stderr.until(exitWithin, func(s string) bool { return strings.Contains(s, w) }) {
			c.t.Errorf("orrery %.200s: %q is not in what it logs: %s", strings.Join(c.cmd.Args[1:], " "), w, c.stderr)
		}
	}
}

// testNode is a node process.
type testNode struct {
	*command
	name, addr string
}

var gossipLine = regexp.MustCompile(`gossip on (\S+);`)

// startNode starts a node of 1 GiB and one thread on loopback, which measures nothing unless told to, and
// waits until it says where it is.
func startNode(t testing.TB, name string, args ...string) *testNode {
	t.Helper()
	return awaitNode(t, name, start(t, append([]string{"node", "--name", name, "--bind", "127.0.0.1:0", "--threads", "1", "--memory", "1GiB",
		"--calibrate", "off"}, args...)...))
}

// awaitNode waits until a node process says where it is.
func awaitNode(t testing.TB, name string, c *command) *testNode {
	t.Helper()
	n := &testNode{name: name, command: c}
	if !n.stdout.until(readyWithin, gossipLine.MatchString) {
		t.Fatalf("node %s did not get ready", name)
	}
	n.addr = gossipLine.FindStringSubmatch(n.stdout.String())[1]
	return n
}

// startNodes starts nodes a, b and so on, of the given bandwidths; each joins the first, and the first
// knows them all when it returns.
func startNodes(t testing.TB, bandwidths ...string) []*testNode {
	t.Helper()
	var nodes []*testNode
	for i, b := range bandwidths {
		args := []string{"--bandwidth", b}
		if i > 0 {
			args = append(args, "--join", nodes[0].addr)
		}
		nodes = append(nodes, startNode(t, nodeNames[i:i+1], args...))
	}
	return nodes
}

// within is a context for what a test does through the Go API.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
