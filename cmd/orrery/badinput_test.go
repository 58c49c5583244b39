package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/recall"
)

// badInput is a command that cannot work, and what its message has to say.
type badInput struct {
	args   []string
	status int
	want   []string // of its message
}

// sideBySide is how many commands run at a time: most of them only wait.
const sideBySide = 6

// refused runs commands, and holds each to ending by itself, with the status that it should have and a short
// message that says what is wanted of it.
func refused(t *testing.T, cases map[string]badInput) {
	var g errgroup.Group
	g.SetLimit(sideBySide)
	for name, c := range cases {
		g.Go(func() error { t.Run(name, func(t *testing.T) { c.check(t) }); return nil })
	}
	_ = g.Wait() // what failed is in t
}

func (c badInput) check(t *testing.T) {
	_, stderr, status := run(t, exitWithin, c.args...)
	if status != c.status {
		t.Errorf("status %d, want %d", status, c.status)
	}
	for _, want := range c.want {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in %q", want, stderr)
		}
	}
	if strings.Contains(stderr, "panic") || strings.Contains(stderr, "goroutine ") || strings.Count(stderr, "\n") > 12 {
		t.Errorf("this is no message for people:\n%s", stderr)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	generate := func(args ...string) []string { return append([]string{"generate", "--prompt", "Once"}, args...) }
	planned := func(args ...string) []string {
		return append([]string{"plan", "--model", minimaxConfig, "--cluster", m4Cluster}, args...)
	}
	cases := map[string]badInput{
		"unknown command":          {[]string{"frobnicate"}, statusUsage, []string{"frobnicate", "orrery --help"}},
		"no prompt":                {[]string{"generate"}, statusUsage, []string{"--prompt or --prompt-file", "orrery generate --help"}},
		"one prompt and several":   {generate("--prompts", os.DevNull), statusUsage, []string{"--prompt and --prompts"}},
		"prompts from nowhere":     {[]string{"generate", "--prompts", "missing.txt"}, statusUsage, []string{"--prompts", "missing.txt", "no such file"}},
		"no line with a prompt":    {[]string{"generate", "--prompts", os.DevNull}, statusFailed, []string{"--prompts", os.DevNull, "no line"}},
		"two from standard input":  {[]string{"generate", "--prompts", "-", "--prompt-file", "-"}, statusUsage, []string{"--prompts -", "standard input"}},
		"no sequences":             {generate("--sequences", "0"), statusUsage, []string{"--sequences", "between 1 and 4096"}},
		"no such model":            {generate("--model", "missing"), statusUsage, []string{"model missing", "no such file", "--data-dir", "recall"}},
		"no such prompt file":      {[]string{"generate", "--prompt-file", "missing.txt"}, statusUsage, []string{"missing.txt", "no such file"}},
		"a prompt without an end":  {[]string{"generate", "--prompt-file", "/dev/zero"}, statusFailed, []string{"/dev/zero", "over 64 MiB"}},
		"prompts without an end":   {[]string{"generate", "--prompts", "/dev/zero"}, statusFailed, []string{"--prompts", "/dev/zero", "over 64 MiB"}},
		"a plan without an end":    {[]string{"plan", "--model", minimaxConfig, "--cluster", "/dev/zero", "--context", "9"}, statusFailed, []string{"/dev/zero", "over 64 MiB"}},
		"a model without an end":   {[]string{"plan", "--model", "/dev/zero", "--cluster", m4Cluster, "--context", "9"}, statusFailed, []string{"/dev/zero", "over 64 MiB"}},
		"too many prompts":         {[]string{"generate", "--prompts", manyLines(t)}, statusFailed, []string{"--prompts", "over 65536 lines"}},
		"an empty prompt file":     {[]string{"generate", "--prompt-file", os.DevNull}, statusFailed, []string{os.DevNull, "empty"}},
		"too long for the context": {[]string{"generate", "--context", "64", "--prompt", strings.Repeat("word ", 100)}, statusFailed, []string{"context of 64", "--context "}},
		"a context beyond the model's": {
			generate("--context", "99999999"), statusUsage, []string{"context 99999999", "262144"}},
		"no such mode":                  {generate("--mode", "fast"), statusUsage, []string{"--mode", `"fast"`, "pipeline, pooled or ring"}},
		"no such KV format":             {generate("--kv", "q9"), statusUsage, []string{"--kv", `"q9"`, "f16, f32, q8, q4"}},
		"no such output format":         {generate("--format", "xml"), statusUsage, []string{"--format", "json"}},
		"a switch without a mode":       {generate("--switch-at", "8"), statusUsage, []string{"--switch-at", "64:pooled"}},
		"a switch to nowhere":           {generate("--switch-at", "8:fast"), statusUsage, []string{"--switch-at", `"fast"`}},
		"a switch at a word":            {generate("--switch-at", "x:ring"), statusUsage, []string{"--switch-at", "64:pooled"}},
		"switches in disorder":          {generate("--switch-at", "8:ring,4:pooled"), statusUsage, []string{"--switch-at", `"4:pooled"`}},
		"a switch behind the end":       {generate("--switch-at", "8:ring,256:pooled"), statusUsage, []string{"--switch-at 256:pooled", "--max-tokens 256"}},
		"a number beyond all":           {generate("--context", "99999999999"), statusUsage, []string{"--context", "99999999999 is more than 2147483647"}},
		"a flag for a value":            {generate("--model", "--chat"), statusUsage, []string{`--model: "--chat"`, "--model=--chat"}},
		"auto and switches":             {generate("--mode", "auto", "--switch-at", "8:ring"), statusUsage, []string{"--mode auto", "--switch-at"}},
		"no nodes":                      {generate("--nodes", "0"), statusUsage, []string{"--nodes", "between 1 and 16"}},
		"too many nodes":                {generate("--nodes", "99"), statusUsage, []string{"--nodes", "99", "16"}},
		"nodes of two kinds":            {generate("--nodes", "2", "--join", "127.0.0.1:1"), statusUsage, []string{"--nodes and --join"}},
		"no chunk":                      {generate("--chunk", "0"), statusUsage, []string{"--chunk", "between 1 and 65536"}},
		"a negative chunk":              {generate("--chunk", "-1"), statusUsage, []string{`--chunk: "-1"`, "--chunk=-1"}},
		"no block":                      {generate("--block", "0"), statusUsage, []string{"--block", "between 1 and 16384"}},
		"an absurd block":               {generate("--block", "99999999"), statusUsage, []string{"--block", `"99999999"`, "16384"}},
		"no tokens":                     {generate("--max-tokens", "0"), statusUsage, []string{"--max-tokens", "1 or more"}},
		"top-p beyond 1":                {generate("--top-p", "7"), statusUsage, []string{"top_p: 7"}},
		"a negative top-k":              {generate("--top-k=-1"), statusUsage, []string{"top_k: -1"}},
		"min-p beyond 1":                {generate("--min-p", "3"), statusUsage, []string{"min_p: 3"}},
		"a negative temperature":        {generate("--temperature=-1"), statusUsage, []string{"temperature: -1"}},
		"no temperature":                {generate("--temperature", "nan"), statusUsage, []string{"temperature: NaN"}},
		"a bad gossip address":          {generate("--join", "127.0.0.1:1", "--bind", "here"), statusUsage, []string{`"here"`, "port"}},
		"no certificate":                {generate("--join", "127.0.0.1:1", "--tls", "missing"), statusUsage, []string{"missing", "node.crt", "orrery ca issue"}},
		"safe and not":                  {generate("--join", "127.0.0.1:1", "--tls", "x", "--insecure"), statusUsage, []string{"--tls and --insecure"}},
		"a needless certificate":        {generate("--nodes", "2", "--tls", "x"), statusUsage, []string{"--tls", "--join"}},
		"a client in the open":          {generate("--join", "127.0.0.1:1", "--bind", "0.0.0.0:0"), statusUsage, []string{"0.0.0.0:0", "orrery ca init", "orrery ca issue", "--tls", "--insecure"}},
		"a node in the open":            {[]string{"node", "--bind", ":0"}, statusUsage, []string{":0", "orrery ca init", "orrery ca issue", "--tls", "--insecure"}},
		"a node half in the open":       {[]string{"node", "--bind", "127.0.0.1:0", "--listen", "[::]:0"}, statusUsage, []string{"[::]:0", "orrery ca init", "orrery ca issue"}},
		"an authority of no life":       {[]string{"ca", "init", "--days", "0"}, statusUsage, []string{"--days", "1 or more"}},
		"an immortal authority":         {[]string{"ca", "init", "--days", "99999"}, statusUsage, []string{"--days", "36500"}},
		"a plan of no context":          {planned("--context", "0"), statusUsage, []string{"--context", "1 or more"}},
		"a plan of no sequences":        {planned("--context", "9", "--sequences", "0"), statusUsage, []string{"--sequences", "1 or more"}},
		"a plan of nothing reached":     {planned("--context", "9", "--efficiency", "0"), statusUsage, []string{"--efficiency", "above 0"}},
		"a plan of a running name":      {planned("--context", "9", "--cluster-name", "x"), statusUsage, []string{"--cluster-name", "--join"}},
		"an authority of no name":       {[]string{"ca", "init", "--cluster", "a b", "--dir", "missing"}, statusUsage, []string{`"a b"`}},
		"no authority":                  {[]string{"ca", "issue", "a", "--dir", "missing"}, statusFailed, []string{"missing", "ca.crt", "orrery ca init"}},
		"a certificate of nothing":      {[]string{"ca", "issue"}, statusUsage, []string{"<node>"}},
		"no certificates":               {[]string{"ca", "show", "."}, statusFailed, []string{"neither node.crt nor ca.crt"}},
		"a node without a size":         {[]string{"node", "--memory", "8XB"}, statusUsage, []string{"--memory", "8GiB"}},
		"a node with a bad name":        {[]string{"node", "--name", "a b", "--bind", "127.0.0.1:0"}, statusUsage, []string{`"a b"`}},
		"a node on a bad port":          {[]string{"node", "--bind", "127.0.0.1:99999", "--bandwidth", "1GB"}, statusUsage, []string{"127.0.0.1:99999", "65535"}},
		"faults that are none":          {[]string{"node", "--faults", "at 1s: cut; after 3: cut"}, statusUsage, []string{"--faults", "line 1, column 20", "frames"}},
		"no way to check":               {[]string{"node", "--checksums", "maybe"}, statusUsage, []string{"--checksums", "maybe", "auto, on or off"}},
		"a node without its models":     {[]string{"node", "--data-dir", "missing"}, statusUsage, []string{"--data-dir", "missing"}},
		"a demo in a small context":     {[]string{"demo", "--context", "100"}, statusUsage, []string{"100", "--context "}},
		"a demo of nothing":             {[]string{"demo", "--codes", "0"}, statusUsage, []string{"--codes", "1 or more"}},
		"no way to wait":                {[]string{"demo", "--synch", "slow"}, statusUsage, []string{"--synch", `"slow"`, "safe or fast"}},
		"both ends of a benchmark":      {[]string{"bench", "transport", "--peer", "127.0.0.1:1", "--listen", "127.0.0.1:0"}, statusUsage, []string{"--peer and --listen"}},
		"a benchmark of nobody":         {[]string{"bench", "transport", "--peer", "127.0.0.1:1"}, statusFailed, []string{"127.0.0.1:1", "refused"}},
		"a benchmark of no frames":      {[]string{"bench", "transport", "--frame", "1B"}, statusUsage, []string{"--frame", "1024"}},
		"a needless bench tls":          {[]string{"bench", "transport", "--tls", "."}, statusUsage, []string{"--tls", "--peer"}},
		"nobody to join":                {[]string{"node", "--join="}, statusUsage, []string{"--join is empty", "orrery node --help"}},
		"nowhere to write a key":        {[]string{"ca", "issue", "a", "--out", ""}, statusUsage, []string{"--out is empty", "orrery ca issue --help"}},
		"no such log level":             {generate("--log-level", "loud"), statusUsage, []string{"--log-level", `"loud"`, "debug, info, warn or error"}},
		"more threads than any":         {[]string{"node", "--bind", "127.0.0.1:0", "--threads", "2147483647"}, statusUsage, []string{"--threads", "4096"}},
		"fewer threads than any":        {[]string{"node", "--bind", "127.0.0.1:0", "--threads", "0"}, statusUsage, []string{"--threads", "between 1 and"}},
		"attention by millions":         {[]string{"bench", "attention", "--threads", "9999999"}, statusUsage, []string{"--threads", "4096"}},
		"no memory":                     {[]string{"node", "--memory", "0"}, statusUsage, []string{"--memory", `"0"`, "8GiB"}},
		"a node on no device":           {[]string{"node", "--device", "abacus"}, statusUsage, []string{`"abacus"`, "auto, cpu, metal, cuda, emulator"}},
		"a node at no port":             {[]string{"node", "--bind", "127.0.0.1:0", "--listen", "here"}, statusUsage, []string{"--listen", `"here"`, "port"}},
		"an address for nobody":         {generate("--bind", "127.0.0.1:0"), statusUsage, []string{"--bind", "--join"}},
		"a name for nobody":             {generate("--nodes", "2", "--cluster", "x"), statusUsage, []string{"--cluster", "--join"}},
		"a certificate for nobody":      {[]string{"trace", "--tls", "x"}, statusUsage, []string{"--tls", "--join"}},
		"a device of others":            {generate("--join", "127.0.0.1:1", "--device", "cpu"), statusUsage, []string{"--device", "--join"}},
		"threads of others":             {[]string{"bench", "decode", "--join", "127.0.0.1:1", "--threads", "2"}, statusUsage, []string{"--threads", "--join"}},
		"an adapter for nobody":         {generate("--rdma", "mlx5_0"), statusUsage, []string{"--rdma", "--nodes or --join"}},
		"an odd adapter":                {generate("--nodes", "1", "--rdma=-1"), statusFailed, []string{"rdma", "a node process ended before it was ready"}},
		"no kernel of that name":        {[]string{"bench", "kernels", "--device", "emulator", "--only", "bogus"}, statusUsage, []string{"--only bogus"}},
		"a peer of no port":             {[]string{"bench", "transport", "--peer", "here"}, statusUsage, []string{"--peer", `"here"`, "port"}},
		"a listener of no port":         {[]string{"bench", "transport", "--listen", "here"}, statusUsage, []string{"--listen", `"here"`, "port"}},
		"a memory test of nothing":      {[]string{"bench", "memory", "--model", "missing", "--nodes", "1"}, statusUsage, []string{"model missing: no such file"}},
		"a memory test of no model":     {[]string{"bench", "memory", "--model", os.DevNull, "--nodes", "1"}, statusFailed, []string{"1 node, pipeline, context 1024: ", os.DevNull}},
		"attention in huge blocks":      {[]string{"bench", "attention", "--block", "16385"}, statusUsage, []string{"--block", `"16385"`, "16384"}},
		"more at the end than all":      {[]string{"bench", "memory", "--context", "4096,512", "--last", "505"}, statusUsage, []string{"--last 505", "512", "504"}},
		"nothing before decoding":       {[]string{"bench", "memory", "--context", "8"}, statusUsage, []string{"--decode 8", "8 tokens"}},
		"no time at all":                {[]string{"bench", "memory", "--timeout", "0"}, statusUsage, []string{"--timeout", "more than 0"}},
		"a trace into a directory":      {[]string{"trace", "-o", "."}, statusUsage, []string{"--output", "is a directory", "FILE"}},
		"a trace to nowhere":            {[]string{"trace", "-o", "missing/x.json"}, statusUsage, []string{"--output", "missing", "no such file"}},
		"a picture in no directory":     {[]string{"bench", "attention", "--plot", "missing/x.svg"}, statusUsage, []string{"--plot", "missing", "no such file"}},
		"a plan's picture nowhere":      {planned("--context", "9", "--plot", "missing/x.svg"), statusUsage, []string{"--plot", "missing", "no such file"}},
		"an absurd demo":                {[]string{"demo", "--nodes", "1", "--context", "3000000"}, statusUsage, []string{"3000000", "262144"}},
		"nothing from standard input":   {[]string{"generate", "--prompt-file", "-"}, statusFailed, []string{"--prompt-file", "standard input is empty"}},
		"a prompt from a directory":     {[]string{"generate", "--prompt-file", "."}, statusUsage, []string{"--prompt-file", "directory"}},
		"prompts from a directory":      {[]string{"generate", "--prompts", "."}, statusUsage, []string{"--prompts", "directory"}},
		"an absurd chunk":               {generate("--chunk", "99999999"), statusUsage, []string{"--chunk", "65536"}},
		"several of one prompt":         {generate("--sequences", "4"), statusUsage, []string{"--sequences", "--prompts"}},
		"absurdly many at a time":       {[]string{"generate", "--prompts", "badinput_test.go", "--sequences", "99999"}, statusUsage, []string{"--sequences", "4096"}},
		"an absurd batch":               {[]string{"bench", "decode", "--batch", "99999"}, statusUsage, []string{"--batch", "4096"}},
		"less than no time to settle":   {[]string{"bench", "decode", "--settle=-1s"}, statusUsage, []string{"--settle", "-1s"}},
		"a trace that cannot be made":   {[]string{"trace", "-o", "/proc/x.json"}, statusUsage, []string{"--output", "/proc/x.json"}},
		"a picture that cannot be made": {planned("--context", "9", "--plot", "/proc/x.svg"), statusUsage, []string{"--plot", "/proc/x.svg"}},
		"a depth beyond the model's":    {[]string{"bench", "decode", "--depth", "99999999"}, statusUsage, []string{"--depth", "262144"}},
		"a plan of no such layers":      {planned("--context", "9", "--layers", "macbook=0-99"), statusUsage, []string{"layers 0 to 99 of macbook", "0 to 61"}},
		"a plan of no such node":        {planned("--context", "9", "--layers", "nobody=0-9"), statusUsage, []string{`"nobody"`}},
		"a plan of no such link":        {planned("--context", "9", "--link", "pigeon"), statusUsage, []string{`"pigeon"`, "tcp"}},
		"a simulation beyond its end":   {planned("--context", "9", "--simulate", "--contexts", "10"), statusUsage, []string{"context of 10"}},
		"a link of a running cluster":   {[]string{"plan", "--model", minimaxConfig, "--join", "127.0.0.1:1", "--context", "9", "--link", "tcp"}, statusUsage, []string{"--link tcp", "measured"}},
		"attention of odd heads":        {[]string{"bench", "attention", "--shape", "7/3/8"}, statusUsage, []string{"7 heads", "multiple"}},
		"no time for a step":            {[]string{"bench", "memory", "--timeout", "1ns"}, statusUsage, []string{"--timeout", "1 ms"}},
		"an empty command":              {[]string{""}, statusUsage, []string{"an argument is empty"}},
		"an empty format":               {generate("--format", ""), statusUsage, []string{"--format is empty"}},
		"a YAML bomb":                   {[]string{"plan", "--model", minimaxConfig, "--cluster", yamlBomb(t), "--context", "9"}, statusFailed, []string{"bomb.yaml", "line 1: field n0 not found"}},
	}
	refused(t, cases)
}

// yamlBomb is a file that would be a list of 9 billion if all that it refers to were written out.
func yamlBomb(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bomb.yaml")
	bomb := "n0: &n0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("n%d: &n%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*n%d, ", i), 9))
	}
	write(t, path, []byte(bomb+"nodes: *n9\n"))
	return path
}

// manyLines is a file with a line more than there may be prompts.
func manyLines(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines")
	write(t, path, []byte(strings.Repeat("x\n", maxPrompts+1)))
	return path
}

func TestBadTokenIDsAreNamed(t *testing.T) {
	dir := t.TempDir()
	cases := map[string]badInput{}
	out := filepath.Join(dir, "out.npy")
	for name, c := range map[string]struct {
		ids  string
		want []string
	}{
		"a word":                    {"1 2 three", []string{"word 3", `"three"`}},
		"a negative":                {"1 -2", []string{"word 2", `"-2"`}},
		"more than any":             {"1 99999999999", []string{"word 2"}},
		"outside of the vocabulary": {"1\n2\n9999", []string{"word 3", "9999", "vocabulary of 4096"}},
		"nothing":                   {" \n", []string{"no token ids"}},
		"no text at all":            {strings.Repeat("\x00\xff", 100000), []string{"word 1"}},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		write(t, path, []byte(c.ids))
		cases[name] = badInput{[]string{"logits", "--ids-file", path, "--out", out}, statusFailed, append(c.want, path)}
	}
	good := filepath.Join(dir, "good")
	write(t, good, []byte("1 2 3"))
	cases["no end"] = badInput{[]string{"logits", "--ids-file", "/dev/zero", "--out", out}, statusFailed, []string{"/dev/zero", "over 64 MiB"}}
	cases["no such file"] = badInput{[]string{"logits", "--ids-file", "missing.txt", "--out", out}, statusUsage, []string{"--ids-file", "missing.txt"}}
	cases["logits in auto"] = badInput{[]string{"logits", "--ids-file", good, "--out", out, "--mode", "auto"}, statusUsage, []string{"--mode auto", "pipeline, pooled or ring"}}
	cases["nowhere to write"] = badInput{[]string{"logits", "--ids-file", good, "--out", filepath.Join(dir, "missing", "out.npy")}, statusUsage, []string{"--out", "out.npy", "no such file"}}
	cases["a switch behind the end"] = badInput{[]string{"logits", "--ids-file", good, "--out", out, "--switch-at", "3:ring"}, statusUsage, []string{"--switch-at 3:ring", "3 tokens"}}
	cases["more decoded than there are"] = badInput{[]string{"logits", "--ids-file", good, "--out", out, "--decode", "9"}, statusUsage, []string{"--decode 9", "last 9 of 3"}}
	refused(t, cases)
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("a file was left behind: %v", err)
	}
}

func TestBadModelFilesAreNamed(t *testing.T) {
	cases := map[string]badInput{
		"no directory": {[]string{"generate", "--model", "missing", "--prompt", "Once"}, statusUsage, []string{"missing", "no such file"}},
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		"truncated weights": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "model.safetensors")
			write(t, path, read(t, path)[:10000])
		}, []string{"model.safetensors"}},
		"a header longer than the file": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "model.safetensors")
			b := read(t, path)
			binary.LittleEndian.PutUint64(b, 1<<40)
			write(t, path, b)
		}, []string{"model.safetensors"}},
		"a tensor beyond the file": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "model.safetensors")
			b := read(t, path)
			n := binary.LittleEndian.Uint64(b)
			var header map[string]map[string]any
			if err := json.Unmarshal(b[8:8+n], &header); err != nil {
				t.Fatal(err)
			}
			header["model.norm.weight"]["data_offsets"] = []int{1 << 40, 1<<40 + 256}
			lying, err := json.Marshal(header)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(lying))), lying...), b[8+n:]...))
		}, []string{"model.safetensors", "model.norm.weight"}},
		"an empty file of weights": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "model.safetensors"), nil) }, []string{"model.safetensors"}},
		"no weights": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
				t.Fatal(err)
			}
		}, []string{"model.safetensors"}},
		"an absurd configuration": {func(t *testing.T, dir string) { setField(t, filepath.Join(dir, "config.json"), "hidden_size", 1<<40) }, []string{"config.json", "hidden_size"}},
		"a negative configuration": {func(t *testing.T, dir string) {
			setField(t, filepath.Join(dir, "config.json"), "num_hidden_layers", -3)
		},
			[]string{"config.json", "num_hidden_layers"}},
		"an unknown architecture": {func(t *testing.T, dir string) { setField(t, filepath.Join(dir, "config.json"), "model_type", "mamba9") }, []string{"config.json", "mamba9"}},
		"a configuration of text": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "config.json"), []byte("layers: 4")) }, []string{"config.json"}},
		"a tokenizer without merges": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "tokenizer.json")
			var whole map[string]any
			if err := json.Unmarshal(read(t, path), &whole); err != nil {
				t.Fatal(err)
			}
			delete(whole["model"].(map[string]any), "merges")
			writeJSON(t, path, whole)
		}, []string{"tokenizer.json", "merges"}},
		"half a tokenizer": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "tokenizer.json")
			b := read(t, path)
			write(t, path, b[:len(b)/2])
		}, []string{"tokenizer.json"}},
		"no tokenizer": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
				t.Fatal(err)
			}
		}, []string{"tokenizer.json"}},
	} {
		dir := t.TempDir()
		writeModel(t, dir)
		c.spoil(t, dir)
		cases[name] = badInput{[]string{"generate", "--model", dir, "--prompt", "Once", "--max-tokens", "2"}, statusFailed, append(c.want, dir)}
	}
	refused(t, cases)
}

// writeModel makes a tiny model with the tokenizer of the one that comes with Orrery, and makes sure that it works.
func writeModel(t *testing.T, dir string) {
	t.Helper()
	if err := modeltest.Write(dir, modeltest.Options{Vocab: 4096}); err != nil {
		t.Fatal(err)
	}
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.File("tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tokenizer.json"), b)
}

func TestAModelFromDiskGenerates(t *testing.T) {
	dir := t.TempDir()
	writeModel(t, dir)
	if r := generate(t, "--model", dir, "--prompt", "Once", "--max-tokens", "5", "--ignore-eos"); r.Tokens != 5 {
		t.Errorf("%+v", r)
	}
}

func setField(t *testing.T, path, name string, v any) {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal(read(t, path), &whole); err != nil {
		t.Fatal(err)
	}
	whole[name] = v
	writeJSON(t, path, whole)
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, b)
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhoCannotJoinIsToldWhy(t *testing.T) {
	n := startNode(t, "a", "--bandwidth", "10GB")
	dead := deadAddress(t)
	garbage := serve(t, func(c net.Conn) { _, _ = io.CopyN(c, rand.Reader, 1<<20) })
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	certified := newAuthority(t).issue("laptop")
	small := startNode(t, "small", "--bandwidth", "10GB", "--memory", "1MiB")
	generate := func(args ...string) []string { return append([]string{"generate", "--prompt", "Once"}, args...) }
	refused(t, map[string]badInput{
		"nobody there":       {generate("--join", dead), statusFailed, []string{dead, "refused", "--join"}},
		"no address":         {generate("--join", "there"), statusUsage, []string{"there", "port"}},
		"another cluster":    {generate("--join", n.addr, "--cluster", "other"), statusFailed, []string{n.addr, `"other"`, `"orrery"`, "--cluster"}},
		"a needless key":     {generate("--join", n.addr, "--tls", certified), statusFailed, []string{n.addr, "key", "--tls"}},
		"a name that is had": {[]string{"node", "--name", "a", "--join", n.addr, "--bandwidth", "1GB"}, statusFailed, []string{"node a", "taken", "--name"}},
		"a port that is had": {[]string{"node", "--name", "b", "--bind", n.addr, "--bandwidth", "1GB"}, statusFailed, []string{n.addr, "in use", "another port in --bind"}},
		"who sends garbage":  {generate("--join", garbage), statusFailed, []string{garbage}},
		"who says nothing":   {generate("--join", silent), statusFailed, []string{silent}},
		"too little memory":  {generate("--join", small.addr), statusFailed, []string{"node small lacks", "it fits with", "layers", "needs"}},
	})
}

// deadAddress is an address of loopback at which nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serve serves connections until the test ends.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(exitWithin))
				handle(c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestANodeServesOnWhileItIsSentGarbage(t *testing.T) {
	nodes := startNodes(t, "10GB", "5GB")
	ctx := within(t, longWithin)
	a := newAsker(t, ctx, nodes)
	g := startLong(t, "--join", nodes[0].addr, "--prompt", "Once", "--mode", "pooled")
	for _, n := range a.membership.Nodes() {
		for _, addr := range []string{n.Gossip, n.Transport} {
			sendGarbage(t, addr)
		}
	}
	before := len(g.stdout.String())
	if !g.stdout.until(longWithin, func(s string) bool { return len(s) > before+200 }) {
		t.Error("the generation that ran does not go on")
	}
	for _, n := range nodes {
		if !n.stderr.until(exitWithin, func(s string) bool { return strings.Contains(s, "hello") && strings.Contains(s, "gossip") }) {
			t.Errorf("node %s logs nothing of what it was sent: %s", n.name, n.stderr)
		}
	}
	if r := generate(t, "--join", nodes[1].addr, "--prompt", "Once", "--max-tokens", "4"); r.Tokens == 0 {
		t.Error("nothing is generated")
	}
}

// sendGarbage sends random bytes over TCP and, if the port takes them, UDP.
func sendGarbage(t *testing.T, addr string) {
	t.Helper()
	for range 3 {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.CopyN(c, rand.Reader, 1<<18) // the node may hang up before it has read all
		c.Close()
	}
	u, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for i := range 20 {
		packet := make([]byte, 50*i+1)
		rand.Read(packet)
		if _, err := u.Write(packet); err != nil {
			return // nobody listens there
		}
	}
}
