package orrery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/placement"
)

// A document stands first, as plain text; the question follows in the model's own form.
const document = `falcon (noun): diurnal birds of prey having long pointed powerful wings adapted for swift flight
The secret code of the amber falcon is 48213.
`

const question = `<|im_start|>user
What is the secret code of the amber falcon?<|im_end|>
<|im_start|>assistant
`

// One node, the model that comes with Orrery, and an answer from a document.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := orrery.Start(ctx, orrery.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	model, err := cluster.Load(ctx, "recall", orrery.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := model.Generate(ctx, document+question, orrery.GenerateOptions{MaxTokens: 64})
	if err != nil {
		log.Fatal(err)
	}
	for token, err := range answer.Tokens() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(token.Text)
	}
	// Output: The secret code of the amber falcon is 48213.
}

// A cluster with certificates, here of one node, and a program that drives it without computing. On machines of their own
// the two read their certificates with ca.Load, and Bind is an address that the others reach.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	authority, err := ca.New("home", ca.Days(time.Now(), 3650))
	if err != nil {
		log.Fatal(err)
	}
	identity := func(name string) *ca.Identity {
		id, err := authority.Issue(name, ca.Days(time.Now(), 365))
		if err != nil {
			log.Fatal(err)
		}
		return id
	}
	node, err := orrery.Start(ctx, orrery.Config{Identity: identity("a")})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	client, err := orrery.Start(ctx, orrery.Config{Identity: identity("laptop"), Join: []string{node.Addr()}, Client: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	model, err := client.Load(ctx, "recall", orrery.LoadOptions{Mode: orrery.Auto, Context: 1024})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	answer, err := model.Generate(ctx, document+question, orrery.GenerateOptions{MaxTokens: 64})
	if err != nil {
		log.Fatal(err)
	}
	for token, err := range answer.Tokens() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(token.Text)
	}
	// Output: The secret code of the amber falcon is 48213.
}

// A context that does not fit is refused before anything is loaded, with what is missing and what would fit.
func ExampleCluster_Load() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := orrery.Start(ctx, orrery.Config{Memory: 2 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	_, err = cluster.Load(ctx, "recall", orrery.LoadOptions{Context: 200_000, Sequences: 8})
	var refusal *placement.Refusal
	if !errors.As(err, &refusal) {
		log.Fatal(err)
	}
	fmt.Println("bytes are missing:", refusal.Missing > 0)
	model, err := cluster.Load(ctx, "recall", orrery.LoadOptions{Context: refusal.MaxContext, Sequences: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println("the context that fits is loaded")
	// Output:
	// bytes are missing: true
	// the context that fits is loaded
}

// Two nodes, here in one process, and an answer in the middle of which the KV cache is spread over both.
func ExampleGeneration_SwitchMode() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := orrery.Start(ctx, orrery.Config{Name: "a"})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	b, err := orrery.Start(ctx, orrery.Config{Name: "b", Join: []string{a.Addr()}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if err := a.WaitNodes(ctx, 2); err != nil {
		log.Fatal(err)
	}
	model, err := a.Load(ctx, "recall", orrery.LoadOptions{Context: 1024, BlockTokens: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	answer, err := model.Generate(ctx, document+question, orrery.GenerateOptions{MaxTokens: 64})
	if err != nil {
		log.Fatal(err)
	}
	said := ""
	for token, err := range answer.Tokens() {
		if err != nil {
			log.Fatal(err)
		}
		if said == "" {
			report, err := answer.SwitchMode(ctx, orrery.Pooled)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("%v → %v, KV blocks moved: %v\n", report.From, report.To, report.Bytes > 0)
		}
		said += token.Text
	}
	fmt.Println(said)
	// Output:
	// pipeline → pooled, KV blocks moved: true
	// The secret code of the amber falcon is 48213.
}

// What the node did for each token, in figures and as a file for ui.perfetto.dev.
func ExampleModel_Trace() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := orrery.Start(ctx, orrery.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	model, err := cluster.Load(ctx, "recall", orrery.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tracing, err := model.Trace(ctx, orrery.TraceOptions{})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := model.Generate(ctx, document+question, orrery.GenerateOptions{MaxTokens: 4})
	if err != nil {
		log.Fatal(err)
	}
	for _, err := range answer.Tokens() {
		if err != nil {
			log.Fatal(err)
		}
	}
	trace, err := tracing.Stop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range trace.Decoding() {
		fmt.Printf("position %d: more than computing: %v\n", token.Position, token.Took > token.Device)
	}
	if err := trace.WriteChrome(io.Discard, map[string]string{"model": "recall"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// position 76: more than computing: true
	// position 77: more than computing: true
	// position 78: more than computing: true
}

// Several answers at once, from goroutines of their own: their next tokens go through the model's weights together, and
// each is what it would be alone. Memory is kept for two of the full context: who finds no room waits for its turn.
func ExampleModel_Generate() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := orrery.Start(ctx, orrery.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	model, err := cluster.Load(ctx, "recall", orrery.LoadOptions{Context: 256, Sequences: 2})
	if err != nil {
		log.Fatal(err)
	}
	codes := []string{"48213", "36051", "17702"}
	answers := make([]string, len(codes))
	var all sync.WaitGroup
	for i, code := range codes {
		all.Go(func() {
			text := strings.ReplaceAll(document, "48213", code)
			answer, err := model.Generate(ctx, text+question, orrery.GenerateOptions{MaxTokens: 64})
			if err != nil {
				log.Fatal(err)
			}
			for token, err := range answer.Tokens() {
				if err != nil {
					log.Fatal(err)
				}
				answers[i] += token.Text
			}
		})
	}
	all.Wait()
	for _, answer := range answers {
		fmt.Println(answer)
	}
	// Output:
	// The secret code of the amber falcon is 48213.
	// The secret code of the amber falcon is 36051.
	// The secret code of the amber falcon is 17702.
}

// A session keeps its KV cache between generations, so that a document is read once.
func ExampleSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := orrery.Start(ctx, orrery.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	model, err := cluster.Load(ctx, "recall", orrery.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	session, err := model.NewSession(ctx, orrery.SessionOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	for _, prompt := range []string{document + question, "\n" + question} {
		answer, err := session.Generate(ctx, prompt, orrery.GenerateOptions{MaxTokens: 64})
		if err != nil {
			log.Fatal(err)
		}
		said := ""
		for token, err := range answer.Tokens() {
			if err != nil {
				log.Fatal(err)
			}
			said += token.Text
		}
		fmt.Printf("%d tokens read: %s\n", answer.Stats().Prompt, said)
	}
	// Output:
	// 76 tokens read: The secret code of the amber falcon is 48213.
	// 27 tokens read: The secret code of the amber falcon is 48213.
}
