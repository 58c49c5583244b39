package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/orrery-ai/orrery/placement"
)

// unfinished is the bar that is on the terminal and has not come to its end.
var unfinished atomic.Pointer[progressbar.ProgressBar]

// newBar is a bar on the terminal.
func newBar(total int64, more ...progressbar.Option) *progressbar.ProgressBar {
	options := []progressbar.Option{progressbar.OptionSetWriter(os.Stderr), progressbar.OptionFullWidth(), progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish()}
	bar := progressbar.NewOptions64(total, append(options, more...)...)
	unfinished.Store(bar)
	return bar
}

// clearBar takes away what is left of a bar, so that an error has a line of its own.
func clearBar() {
	if bar := unfinished.Swap(nil); bar != nil {
		_ = bar.Clear()
	}
}

// prefillProgress shows how far the prompt is, with tokens/s and the time left, on a terminal; elsewhere it
// says nothing.
func prefillProgress(what string) func(done, total int) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	began := time.Now()
	var bar *progressbar.ProgressBar
	return func(done, total int) {
		if bar == nil {
			bar = newBar(int64(total), progressbar.OptionShowCount())
		}
		rate := float64(done) / time.Since(began).Seconds()
		left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
		bar.Describe(fmt.Sprintf("%s %.0f tokens/s, %v left", what, rate, left))
		_ = bar.Set(done) // only drawing can fail
		if done == total {
			unfinished.Store(nil)
		}
	}
}

// loading shows on a terminal how far nodes are with the weights that they read, until Load returns.
type loading struct {
	mu    sync.Mutex
	done  map[string]int64 // by node
	total map[string]int64
	bar   *progressbar.ProgressBar
	over  bool
}

// showLoading is what to tell of progress, nil where nobody would see it, and how to end that.
func showLoading() (progress func(node string, done, total int64), end func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	l := &loading{done: map[string]int64{}, total: map[string]int64{}}
	return l.note, l.end
}

func (l *loading) note(node string, done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.done[node], l.total[node] = done, total
	var read, all int64
	for node, n := range l.done {
		read, all = read+n, all+l.total[node]
	}
	if l.bar == nil {
		l.bar = newBar(all)
	}
	l.bar.ChangeMax64(all)
	l.bar.Describe(fmt.Sprintf("reading weights, %s of %s", placement.FormatBytes(read), placement.FormatBytes(all)))
	_ = l.bar.Set64(read) // only drawing can fail
}

func (l *loading) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.bar != nil {
		_ = l.bar.Finish()
		unfinished.Store(nil)
	}
}
