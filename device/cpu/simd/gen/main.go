// Command gen writes the assembly of package simd: one file for each routine, and their Go
// declarations in stubs_amd64.go. Run it with go generate in the package's folder.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/buildtags"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// constraint holds for every generated file.
const constraint = "amd64,!noasm"

// A routine is one assembly file.
type routine struct {
	file  string
	write func(*asm)
}

func main() {
	log.SetFlags(0)
	dir := ".."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	var routines []routine
	for _, group := range [][]routine{dots, conversions, vectors, packs, gemms, tiles, decodes, wideDecodes, softmaxes, narrowSoftmaxes, wideProducts, directProducts, wideQuants, wideAffines, affineProducts, expansions, reads, quantized, fixed, narrowDeals, narrowFixed, weighed, narrowWeighed, narrowQuants, wholes, narrowWholes, flushes, words, tileBytes, wholeGEMMs, tileGEMMs, floatTileGEMMs} {
		routines = append(routines, group...)
	}
	stubs := ir.NewFile()
	for _, r := range routines {
		f, err := compile(r)
		if err != nil {
			log.Fatalf("%s: %v", r.file, err)
		}
		if strings.Contains(r.file, "avx512") != extended(f) {
			log.Fatalf("%s: AVX-512 belongs into files of that name, and nowhere else", r.file)
		}
		if err := emit(filepath.Join(dir, r.file+"_amd64.s"), printer.NewGoAsm, f); err != nil {
			log.Fatalf("%s: %v", r.file, err)
		}
		stubs.Constraints = f.Constraints
		for _, fn := range f.Functions() {
			stubs.AddSection(fn)
		}
	}
	if err := emit(filepath.Join(dir, "stubs_amd64.go"), printer.NewStubs, stubs); err != nil {
		log.Fatal(err)
	}
}

// compile builds one routine, allocating its registers.
func compile(r routine) (*ir.File, error) {
	a := &asm{Context: build.NewContext()}
	c, err := buildtags.ParseConstraint(constraint)
	if err != nil {
		return nil, err
	}
	a.Constraint(c)
	r.write(a)
	f, err := a.Result()
	if err != nil {
		return nil, err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return nil, err
	}
	return f, encode(f)
}

// extended says whether a routine uses AVX-512, be it only its registers.
func extended(f *ir.File) bool {
	for _, fn := range f.Functions() {
		for _, i := range fn.Instructions() {
			if i.Opcode == "VPMOVWB" {
				return true
			}
			for _, op := range i.Operands {
				if r, ok := op.(reg.Physical); ok && r.Kind() == reg.KindVector && (r.PhysicalIndex() >= 16 || r.Size() == 64) {
					return true
				}
			}
		}
	}
	return false
}

// emit prints f to a file.
func emit(name string, b printer.Builder, f *ir.File) error {
	text, err := b(printer.Config{Argv: []string{"go", "generate"}, Pkg: "simd"}).Print(f)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return os.WriteFile(name, text, 0o644)
}
