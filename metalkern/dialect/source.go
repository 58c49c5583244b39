package dialect

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

// Unit is one text to compile: some files in the dialect, and the kernels to make of the macros that they define.
type Unit struct {
	Name      string   // for messages, and the name of what is cached
	Files     []File   // in order
	Instances []string // "DECODE(decode_f16_d128, F16, 128, 8, 4)"
}

// File is a named text.
type File struct{ Name, Text string }

// Target is a compiler.
type Target uint8

const (
	Metal    Target = iota // newLibraryWithSource, Metal 3.1 or later
	CUDA                   // NVRTC, for compute capability 8.0 or later
	CPP                    // the emulator, with the fragments of CUDA
	CPPMetal               // the emulator, with the fragments of Metal
)

//go:embed prelude/*.h
var preludes embed.FS

// parts are the files of each target's prelude, in order.
var parts = [...][]string{
	Metal:    {"metal.h", "pair.h", "fragments_metal.h"},
	CUDA:     {"common.h", "cuda.h", "pair.h", "fragments_cuda.h"},
	CPP:      {"common.h", "cpp.h", "pair.h", "fragments_cuda.h"},
	CPPMetal: {"common.h", "cpp.h", "pair.h", "cpp_metal.h", "fragments_metal.h"},
}

// Source is the unit as the target's compiler takes it.
func Source(t Target, u Unit) string {
	var b strings.Builder
	add := func(name, text string) {
		if t != Metal {
			text = strip(text)
		}
		fmt.Fprintf(&b, "#line 1 \"%s\"\n%s\n", name, text)
	}
	if t == CPP || t == CPPMetal {
		b.WriteString("#define DIALECT_CPP 1\n#include \"emulator.h\"\n")
	}
	if t != Metal {
		b.WriteString("namespace dialect {\n")
	}
	for _, name := range parts[t] {
		text, err := preludes.ReadFile("prelude/" + name)
		if err != nil {
			panic(err) // embedded: the table names a file that does not exist
		}
		add(name, string(text))
	}
	for _, f := range u.Files {
		add(f.Name, f.Text)
	}
	fmt.Fprintf(&b, "#line 1 \"%s instances\"\n%s\n", u.Name, strings.Join(u.Instances, "\n"))
	if t != Metal {
		b.WriteString("}\n")
	}
	return b.String()
}

var words = regexp.MustCompile(`//[^\n]*|"[^"\n]*"|\b(?:device|threadgroup|thread|constant)\b`)

// strip blanks the words of address spaces outside of comments and strings, keeping every column.
func strip(s string) string {
	return words.ReplaceAllStringFunc(s, func(m string) string {
		switch m {
		case "device", "threadgroup", "thread":
			return strings.Repeat(" ", len(m))
		case "constant":
			return "const   "
		}
		return m
	})
}
