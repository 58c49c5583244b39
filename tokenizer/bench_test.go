package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// english is about size bytes of prose-like text with a natural spread of word frequencies.
func english(size int) string {
	words := strings.Fields(`the of and to a in is that it was for on are with as his they be at one have this from
		or had by hot but some what there we can out other were all your when up use word how said an each she which
		do their time if will way about many then them would write like so these her long make thing see him two has
		look more day could go come did my sound no most number who over know water than call first people may down
		side been now find orrery attention cluster bandwidth residence sequence because between thought something`)
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 4, uint64(len(words)-1))
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[zipf.Uint64()])
		switch rng.IntN(12) {
		case 0:
			b.WriteString(".\n\nThe ")
		case 1:
			b.WriteString(", ")
		case 2:
			b.WriteString(" 1984 ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func BenchmarkEncode(b *testing.B) {
	tok := loadFile(b, recallFile)
	for _, c := range []struct{ name, text string }{
		{"english", english(1 << 20)},
		{"one-word", strings.Repeat("abcdefgh", 1<<17)},
		{"chinese", strings.Repeat("日本語の文章、漢字と仮名。\n", 1<<20/40)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				must(tok.Encode(c.text, true))
			}
		})
	}
}

func BenchmarkPush(b *testing.B) {
	tok := loadFile(b, recallFile)
	ids := must(tok.Encode(english(1<<16), false))
	d := tok.NewDecoder(true)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Push(ids[i%len(ids)])
	}
}
