package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// maxArguments is what every host has room for; Metal itself has 31 buffers.
const maxArguments = 16

// metals is the condition of text for Metal's compiler.
const metals = "defined(__METAL_VERSION__)"

var (
	skipped   = regexp.MustCompile(`(?s)//[^\n]*|/\*.*?\*/|"[^"\n]*"`)
	banned    = regexp.MustCompile(`\b(?:double|goto|throw|try|catch|new|delete|virtual|dynamic_cast|typeid|thread_local|asm|vertex|fragment|stitchable|long\s+long|std)\b`)
	literal   = regexp.MustCompile(`(?:\b\d+\.\d*|\B\.\d+)(?:[eE][-+]?\d+)?[\w.]*|\b\d+[eE][-+]?\d+\w*`)
	lasting   = regexp.MustCompile(`\bstatic\s+(\w+)`)
	entry     = regexp.MustCompile(`(?m)^\s*KERNEL\(`)
	bound     = regexp.MustCompile(`\b(HOST_BUF|BUF|ARG)\(\s*(\d+)`)
	defined   = regexp.MustCompile(`\bFN\s+[\w<>,\s*&]*?\b(\w+)\s*\(`)
	directive = regexp.MustCompile(`(?m)^#(?:if|elif|else|endif)[^\n]*`)
	local     = regexp.MustCompile(`\bSHARED\(|\bKERNEL\(|\bFN\b`)
)

// library is functions of Metal's that a kernel might define, too: then its calls are ambiguous there, or mean another.
var library = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`abs absdiff acos addsat all any asin atan atan2 ceil clamp clz copysign cos cross ctz degrees distance divide
		dot exp exp10 exp2 extract_bits fabs fdim floor fma fmax fmin fmod fract frexp hadd insert_bits ilogb isfinite isinf isnan isnormal ldexp length log log10 log2
		mad24 madhi madsat max max3 median3 min min3 mix modf mul24 mulhi nextafter normalize popcount pow powr precise quad_sum radians reflect refract
		reverse_bits rhadd rint rotate round rsqrt saturate select sign signbit simd_all simd_any simd_ballot simd_broadcast simd_max simd_min simd_product simd_shuffle
		simd_sum sin sincos sqrt step subsat tan tanh transpose trunc`) {
		library[name] = true
	}
}

// Rules looks for what Metal's compiler refuses, or what only shows on Metal, and a C++ compiler does not know: words that are reserved or do
// not exist there, literals that are doubles elsewhere, variables that outlive a call, arrays in threadgroup memory outside of a kernel, functions that its library has, arguments
// whose numbers are not their places, which other hosts do not look at, and values that are not a kernel's last argument, which no host knows. The error is a *[gpu.CompileError] that names file and line.
func Rules(u dialect.Unit) error {
	var log strings.Builder
	for _, f := range u.Files {
		text := skipped.ReplaceAllStringFunc(f.Text, func(s string) string { // keeps lines
			return strings.Repeat("\n", strings.Count(s, "\n"))
		})
		note := func(at int, format string, args ...any) {
			fmt.Fprintf(&log, "%s:%d: %s\n", f.Name, 1+strings.Count(text[:at], "\n"), fmt.Sprintf(format, args...))
		}
		for _, m := range banned.FindAllStringIndex(text, -1) {
			if word := text[m[0]:m[1]]; word != "asm" || !elsewhere(text, m[0]) {
				note(m[0], "%s is not Metal's, or is reserved there", word)
			}
		}
		for _, m := range literal.FindAllStringIndex(text, -1) {
			if v := text[m[0]:m[1]]; !strings.HasSuffix(v, "f") && !strings.HasSuffix(v, "h") {
				note(m[0], "%s is a double; write %sf", v, v)
			}
		}
		for _, m := range defined.FindAllStringSubmatchIndex(text, -1) {
			if word := text[m[2]:m[3]]; library[word] {
				note(m[0], "%s is a function of Metal's library", word)
			}
		}
		for _, m := range lasting.FindAllStringSubmatchIndex(text, -1) {
			if word := text[m[2]:m[3]]; word != "FN" && word != "constant" {
				note(m[0], "static %s: only functions and constants may be static", word)
			}
		}
		inKernel := false
		for _, m := range local.FindAllStringIndex(text, -1) {
			switch text[m[0]:m[1]] {
			case "KERNEL(":
				inKernel = true
			case "FN":
				inKernel = false
			default:
				if !inKernel {
					note(m[0], "an array in threadgroup memory outside of a kernel")
				}
			}
		}
		for _, m := range entry.FindAllStringIndex(text, -1) {
			head, _, _ := strings.Cut(text[m[0]:], "{")
			numbers := bound.FindAllStringSubmatch(head, -1)
			for place, n := range numbers {
				if v, err := strconv.Atoi(n[2]); err != nil || v != place {
					note(m[1], "argument %d has number %s", place, n[2])
				}
				if n[1] == "ARG" && place < len(numbers)-1 {
					note(m[1], "argument %d is a value, and is not the last", place)
				}
			}
			if len(numbers) > maxArguments {
				note(m[1], "%d arguments; the most is %d", len(numbers), maxArguments)
			}
		}
	}
	if log.Len() == 0 {
		return nil
	}
	return &gpu.CompileError{Unit: u.Name, Compiler: "the dialect", Log: log.String()}
}

// elsewhere says whether text at that place is only for other compilers than Metal's, behind an #else or #elif of its version, whatever conditions
// lie between.
func elsewhere(text string, at int) bool {
	var open []string // the conditions around, each as the last directive of it
	for _, m := range directive.FindAllString(text[:at], -1) {
		switch {
		case strings.HasPrefix(m, "#endif"):
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case strings.HasPrefix(m, "#if"):
			open = append(open, m)
		case len(open) > 0 && strings.Contains(open[len(open)-1], metals):
			open[len(open)-1] = "#else " + metals
		}
	}
	return slices.Contains(open, "#else "+metals)
}
