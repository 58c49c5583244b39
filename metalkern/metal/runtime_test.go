//go:build darwin && arm64

package metal

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

const plain = `#include <metal_stdlib>
kernel void one(device float* x [[buffer(0)]]) { x[0] = 1; }`

// unnamed is a row's class as encoded has it.
func unnamed(class string) string {
	if parts := strings.Split(class, ":"); len(parts) == 3 {
		parts[1] = "?"
		return strings.Join(parts, ":")
	}
	return class
}

// TestTheSystemHasEveryMessageAsItIsSent asks the runtime of the system that it runs on, which may be newer than the headers behind selectors.tsv.
func TestTheSystemHasEveryMessageAsItIsSent(t *testing.T) {
	h := opened(t, find)
	handle, err := purego.Dlopen(objc, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		t.Fatal(err)
	}
	symbol := func(name string) uintptr {
		p, err := purego.Dlsym(handle, name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	classOf, method, encoding := symbol("object_getClass"), symbol("class_getInstanceMethod"), symbol("method_getTypeEncoding")
	pooled(func() {
		source, name := newString(plain), newString("one")
		options := mtlCompileOptions{nsObject{nsObject{class("MTLCompileOptions")}.alloc()}.init()}
		failure := new(object)
		library := h.device.newLibrary(source, options, failure)
		if library.object == 0 {
			t.Error(nsError{*failure}.describe())
			return
		}
		pipeline := h.device.newPipeline(library.newFunction(name), failure)
		if pipeline.object == 0 {
			t.Error(nsError{*failure}.describe())
			return
		}
		wrong := newString("nonsense")
		h.device.newLibrary(wrong, options, failure)
		buffer := h.device.newBuffer(16, sharedStorage)
		queue := h.device.newQueue(1)
		commands := queue.commandBuffer()
		encoder := commands.computeEncoder()
		objects := map[string]object{
			"NSObject": source.object, "NSString": source.object, "NSError": *failure, "NSProcessInfo": nsProcessInfo{class("NSProcessInfo")}.processInfo().object,
			"MTLDevice": h.device.object, "MTLCompileOptions": options.object, "MTLLibrary": library.object, "MTLComputePipelineState": pipeline.object,
			"MTLBuffer": buffer.object, "MTLSharedEvent": h.device.newSharedEvent().object, "MTLCommandQueue": queue.object, "MTLCommandBuffer": commands.object,
			"MTLCommandEncoder": encoder.object, "MTLComputeCommandEncoder": encoder.object,
		}
		for key, row := range table(t) {
			o, ok := objects[row.owner]
			if row.to == "class" {
				o = class(row.owner)
			}
			if !ok || o == 0 {
				t.Errorf("%s: there is no such object", key)
				continue
			}
			id := call(symbols.registerName, pointer(unsafe.Pointer(cString(row.selector))))
			m := call(method, argument{word: call(classOf, word(o))}, argument{word: id})
			if m == 0 {
				t.Errorf("%s: the system's object has no such method", key)
				continue
			}
			text := goString(result(call(encoding, argument{word: m})).pointer())
			returns, arguments, err := encoded(text)
			var want []string
			for _, a := range row.arguments {
				want = append(want, unnamed(a))
			}
			if err != nil || returns != row.returns || !slices.Equal(arguments, want) {
				t.Errorf("%s is %s here: returns %s of %v, %v; selectors.tsv has %s of %v", key, text, returns, arguments, err, row.returns, want)
			}
		}
		mtlCommandEncoder(encoder).endEncoding()
		commands.commit()
	})
}
