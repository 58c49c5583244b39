package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/recall"
)

type demoCmd struct {
	Context countFlag `help:"Tokens of the document and all that is said about it." default:"32768"`
	Nodes   nodesFlag `help:"Node processes." default:"3"`
	Codes   countFlag `help:"Secret codes that are asked for." default:"4"`
	Seed    uint64    `help:"Of the document." default:"3"`
	Mode    autoFlag  `help:"Compare only this mode with pipeline: pooled, ring or auto, which chooses and changes it." placeholder:"MODE"`
	Chunk   chunkFlag `help:"Tokens that a node computes at a time in prefill." default:"1024"`
	KV      kvFlag    `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16"`
	Block   blockFlag `help:"Tokens of a KV block." default:"256"`
	Synch   synchFlag `help:"How nodes wait for the small messages of a step: safe in the kernel, fast spinning first, auto fast if there is a core for each." default:"auto" placeholder:"WAY"`
	Format  string    `help:"text, or json for programs." enum:"text,json" default:"text"`
	deviceFlags
}

// Help is shown below the flags' summary.
func (demoCmd) Help() string {
	return `Starts node processes on this machine, loads the model that comes with Orrery, hides secret codes in a long
document, and has it read and asks for them in each mode; then goes on for a long answer during which it switches
pipeline → pooled → ring → pipeline. Exits with 1 if an answer is wrong, or the tokens are not the same everywhere.

Examples:
  orrery demo
  orrery demo --context 8192 --nodes 2 --seed 7
  orrery demo --nodes 2 --mode auto
  orrery demo --device cuda --nodes 2
  orrery demo --kv q8
  orrery demo --format json`
}

// How many tokens the long answer has that is generated beyond the answers, without switches and then with them: about
// as many as take half a second, so that switches take effect while a fast device generates it.
const (
	longAnswerLeast = 96
	longAnswerMost  = 384
)

// longAnswerRoom is how many tokens there is room for in a long answer.
func (c *demoCmd) longAnswerRoom() int {
	if int(c.Context) > recall.MaxTokens {
		return longAnswerLeast // the model may know no position beyond the context
	}
	return longAnswerMost
}

// loadedTokens is the context that the model is loaded with: what a long answer has beyond the least comes on top, so that
// the document is the same on every device.
func (c *demoCmd) loadedTokens() int { return int(c.Context) + 2*(c.longAnswerRoom()-longAnswerLeast) }

// turnTokens is room for a question and its answer.
const turnTokens = 64

// documentTokens is what the context has room for, beside the questions and the answers.
func (c *demoCmd) documentTokens() int {
	return int(c.Context) - 2*longAnswerLeast - turnTokens*(int(c.Codes)+1)
}

// tokensPerCode is room in the document for a code and the entries around it.
const tokensPerCode = 64

// Validate looks at the flags together.
func (c *demoCmd) Validate() error {
	if orrery.Mode(c.Mode) == orrery.Pipeline {
		return errors.New("--mode pipeline: the others are compared with it: name pooled, ring or auto")
	}
	if least := tokensPerCode * int(c.Codes); c.documentTokens() < least {
		return fmt.Errorf("a context of %d is too small for %d codes: use --context %d or more, or fewer --codes", c.Context, c.Codes, int(c.Context)-c.documentTokens()+least)
	}
	return nil
}

// Run runs the demo.
func (c *demoCmd) Run(ctx context.Context, log *slog.Logger) error {
	d := &demo{cmd: c, out: io.Discard}
	if c.Format == "text" {
		d.out = os.Stdout
	}
	started := time.Now()
	if err := d.run(ctx, log); err != nil {
		return err
	}
	d.report.Seconds = time.Since(started).Seconds()
	return d.close()
}

// demo is one run of the demo.
type demo struct {
	cmd      *demoCmd
	out      io.Writer
	cluster  *orrery.Cluster
	model    *orrery.Model
	doc      recall.Document
	asked    []recall.Code
	report   demoReport
	said     []demoSaid // in each session
	rate     float64    // tokens/s of the last answer
	longer   int        // tokens of the long answer
	switched *demoRun   // the long answer with switches; nil: there was none
}

// demoSaid is the tokens of a session.
type demoSaid struct {
	mode    string
	answers []int32 // with the long answer
	more    []int32 // beyond that
}

func (d *demo) run(ctx context.Context, log *slog.Logger) error {
	c := d.cmd
	fmt.Fprintf(d.out, "Starting %s, each a process …\n", counted(int(c.Nodes), "node"))
	local, err := startLocal(ctx, localOptions{Nodes: int(c.Nodes), Device: string(c.Device), Synch: orrery.Synch(c.Synch), RDMA: rdmaFlags{RDMA: "off"}}, log)
	if err != nil {
		return err
	}
	defer local.stop()
	sayWithout(d.out, local.device)
	if d.cluster, err = local.join(ctx, log); err != nil {
		return err
	}
	defer d.cluster.Close()
	if d.model, err = d.cluster.Load(ctx, recall.Name, orrery.LoadOptions{Context: c.loadedTokens(), Chunk: int(c.Chunk), BlockTokens: int(c.Block), KV: orrery.KVFormat(c.KV)}); err != nil {
		return err
	}
	d.showPlacement()
	if err := d.compose(); err != nil {
		return err
	}
	modes := []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring}
	if c.Mode != 0 {
		modes = []orrery.Mode{orrery.Pipeline, orrery.Mode(c.Mode)}
	}
	for _, mode := range modes {
		if err := d.session(ctx, mode); err != nil {
			return fmt.Errorf("%v: %w", mode, err)
		}
	}
	if d.switched != nil {
		d.report.Runs = append(d.report.Runs, *d.switched)
	}
	d.compare()
	return nil
}

// compose writes the document, and chooses what to ask: codes at all depths.
func (d *demo) compose() (err error) {
	c := d.cmd
	tokens, codes := c.documentTokens(), int(c.Codes)
	count := func(s string) (int, error) {
		ids, err := d.model.Tokenizer().Encode(s, false)
		return len(ids), err
	}
	if d.doc, err = recall.Compose(count, tokens, max(codes, recall.DefaultCodes(tokens)), c.Seed); err != nil {
		return err
	}
	for i := range codes {
		at := 0
		if codes > 1 {
			at = i * (len(d.doc.Codes) - 1) / (codes - 1)
		}
		d.asked = append(d.asked, d.doc.Codes[at])
	}
	if d.report.DocumentTokens, err = count(d.doc.Text); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nA document of %d tokens: glossary entries, and %d secret codes.\n", d.report.DocumentTokens, len(d.doc.Codes))
	return nil
}

// session reads the document, asks for the codes, and goes on for a long answer. Unless one mode is compared only, there
// is a second one: in pipeline with switches on the way, in the other modes without, to compare with.
func (d *demo) session(ctx context.Context, mode orrery.Mode) error {
	fmt.Fprintf(d.out, "\n%s\n", strings.ToUpper(mode.String()))
	s, err := d.model.NewSession(ctx, orrery.SessionOptions{Mode: mode})
	if err != nil {
		return err
	}
	defer s.Close()
	run := demoRun{Mode: mode.String()}
	said := demoSaid{mode: run.Mode}
	if said.answers, err = d.ask(ctx, s, &run); err != nil {
		return err
	}
	if d.longer == 0 {
		d.longer = min(max(int(d.rate/2), longAnswerLeast), d.cmd.longAnswerRoom())
	}
	long, err := d.long(ctx, s, &run, nil)
	if err != nil {
		return err
	}
	said.answers = append(said.answers, long...)
	d.report.Runs = append(d.report.Runs, run)
	if d.cmd.Mode == 0 {
		again := demoRun{Mode: run.Mode}
		var switches []orrery.SwitchAt
		if mode == orrery.Pipeline {
			again.Mode, switches = switching, []orrery.SwitchAt{{Token: d.longer / 8, Mode: orrery.Pooled}, {Token: 3 * d.longer / 8, Mode: orrery.Ring}, {Token: 5 * d.longer / 8, Mode: orrery.Pipeline}}
			fmt.Fprintf(d.out, "\n%s, in the same session\n", strings.ToUpper(switching))
		}
		if said.more, err = d.long(ctx, s, &again, switches); err != nil {
			return err
		}
		if switches != nil {
			d.switched = &again
		}
	}
	d.said = append(d.said, said)
	return nil
}

// switching is the name of the long answer with switches on the way.
const switching = "switching"

// compare finds out which runs have the tokens of the others: every mode those of pipeline, and the long answer with
// switches those of the sessions without.
func (d *demo) compare() {
	of := map[string]bool{switching: true}
	for _, s := range d.said {
		of[s.mode] = slices.Equal(s.answers, d.said[0].answers)
		of[switching] = of[switching] && slices.Equal(s.more, d.said[0].more)
	}
	for i := range d.report.Runs {
		d.report.Runs[i].SameTokens = of[d.report.Runs[i].Mode]
	}
}

// ask reads the document, and asks for the codes.
func (d *demo) ask(ctx context.Context, s *orrery.Session, run *demoRun) (tokens []int32, err error) {
	for i, code := range d.asked {
		prompt := code.NextTurn()
		if i == 0 {
			prompt = d.doc.Text + code.FirstTurn()
		}
		g, err := s.Generate(ctx, prompt, orrery.GenerateOptions{MaxTokens: turnTokens, Progress: d.progress(i, run.Mode)})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(d.out, "  %3.0f%%  %s\n", 100*code.Depth, code.Question())
		said, text, err := d.stream(g)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, said...)
		st := g.Stats()
		d.rate = st.DecodeRate()
		run.note(st)
		right := strings.TrimSpace(text) == code.Answer()
		run.Answers = append(run.Answers, demoAnswer{Question: code.Question(), Answer: text, Right: right})
		if !right {
			fmt.Fprintf(d.out, "  WRONG: it is %s", code.Code)
		}
		fmt.Fprintln(d.out)
		if i == 0 {
			run.PrefillRate, run.TTFTSeconds = st.PrefillRate(), st.TTFT.Seconds()
		}
	}
	return tokens, nil
}

// long generates the long answer, and measures it.
func (d *demo) long(ctx context.Context, s *orrery.Session, run *demoRun, switches []orrery.SwitchAt) ([]int32, error) {
	before, err := d.cluster.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	g, err := s.GenerateIDs(ctx, nil, orrery.GenerateOptions{MaxTokens: d.longer, IgnoreEOS: true, SwitchAt: switches})
	if err != nil {
		return nil, err
	}
	var tokens []int32
	var text strings.Builder
	for t, err := range g.Tokens() {
		if err != nil {
			return nil, err
		}
		text.WriteString(t.Text)
		if t.ID >= 0 {
			tokens = append(tokens, t.ID)
		}
	}
	after, err := d.cluster.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	st := g.Stats()
	run.DecodeRate, run.MedianGapSeconds = st.DecodeRate(), st.MedianGap().Seconds()
	if len(st.Gaps) > 0 {
		run.LongestGapSeconds = slices.Max(st.Gaps).Seconds()
	}
	if switches == nil && len(st.Switches) == 0 {
		run.BytesPerToken = float64(after.Lanes-before.Lanes+after.Control-before.Control) / float64(d.longer)
	}
	run.note(st)
	for i, r := range st.Switches {
		at := ""
		if switches != nil {
			at = fmt.Sprintf("token %3d: ", switches[i].Token)
		}
		fmt.Fprintf(d.out, "  %s%s\n", at, describeSwitch(r))
	}
	fmt.Fprintf(d.out, "  %d tokens more: %s\n", d.longer, excerpt(text.String()))
	return tokens, nil
}

// note keeps what became of a generation's modes.
func (r *demoRun) note(st orrery.Stats) {
	r.Switches = append(r.Switches, switchReports(st.Switches)...)
	for _, s := range st.Switches {
		r.Gaps = append(r.Gaps, gapAround(st, s).Seconds())
	}
	r.Auto = append(r.Auto, choiceReports(st.Choices)...)
}

// gapAround is the longest time between two tokens while a switch was under way.
func gapAround(s orrery.Stats, r orrery.SwitchReport) (longest time.Duration) {
	for i, gap := range s.Gaps {
		at := s.Length + i + 1 // tokens in the cache when the token at the end of the gap was chosen
		if at >= r.Asked && at <= r.Tokens+1 {
			longest = max(longest, gap)
		}
	}
	return longest
}

// excerpt is the beginning of a text, in one line.
func excerpt(s string) string {
	const most = 54
	line := []rune(strings.Join(strings.Fields(s), " "))
	if len(line) > most {
		return string(line[:most]) + " …"
	}
	return string(line)
}

func (d *demo) progress(turn int, name string) func(done, total int) {
	if turn > 0 || d.cmd.Format != "text" {
		return nil
	}
	return prefillProgress("  reading, " + name)
}

// stream prints an answer as it comes, on a line of its own.
func (d *demo) stream(g *orrery.Generation) (tokens []int32, text string, err error) {
	for t, err := range g.Tokens() {
		if err != nil {
			return nil, "", err
		}
		if text == "" {
			fmt.Fprint(d.out, "        ") // not before the progress bar is gone
		}
		fmt.Fprint(d.out, t.Text)
		text += t.Text
		if t.ID >= 0 {
			tokens = append(tokens, t.ID)
		}
	}
	return tokens, text, nil
}
