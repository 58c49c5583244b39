package tokenizer

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

func TestListingsAreReadAsEncodingJSONReadsThem(t *testing.T) {
	const text = "{ \"a\" :1,\n\"\\u0120b\": 2,\"\\\"\":3, \"\\\\\":4 , \"日本\":5,\"\xff\":6,\"\\ud83d\\ude00\":-7,\"a\":8}"
	var got vocabulary
	var want map[string]int32
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	var merges mergeList
	if err := json.Unmarshal([]byte(` [ ["a","\u0120"] , "b c",["日",""] ]`), &merges); err != nil || !slices.Equal(merges, mergeList{{"a", "Ġ"}, {"b", "c"}, {"日", ""}}) {
		t.Errorf("%q, %v", merges, err)
	}
	for _, text := range []string{`{"a":null}`, `{"a":"1"}`, `{"a":1e3}`, `{"a":{}}`, `[]`, `7`, `null`} {
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is a vocabulary", text)
		}
	}
	for _, text := range []string{`[null]`, `[["a",1]]`, `[["a","b","c"]]`, `[[]]`, `["ab"]`, `{}`, `7`} {
		if err := json.Unmarshal([]byte(text), &merges); err == nil {
			t.Errorf("%s is merges", text)
		}
	}
}

// FuzzListing holds what is read to encoding/json, which may also take what is refused here: null for an id.
func FuzzListing(f *testing.F) {
	for _, text := range []string{`{"a":1}`, `{"\"\\":-1,"\ud800":2}`, `[["a","b"],["c","d"]]`, `["a b"]`, `{}`, `[]`, `[[{}]]`, `{"":{"":[1]}}`, ` null `} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got vocabulary
		if json.Unmarshal(data, &got) == nil {
			var want map[string]int32
			if err := json.Unmarshal(data, &want); err != nil || !maps.Equal(got, want) {
				t.Errorf("%q: %v, want %v, %v", data, got, want, err)
			}
		}
		var merges mergeList
		if json.Unmarshal(data, &merges) == nil {
			var lines []string
			var pairs [][]string
			if json.Unmarshal(data, &pairs) == nil {
				for i, p := range pairs {
					if len(p) != 2 || merges[i] != [2]string(p) {
						t.Errorf("%q: %q, want %q", data, merges, pairs)
					}
				}
			} else if json.Unmarshal(data, &lines) == nil {
				for i, line := range lines {
					if merges[i][0]+" "+merges[i][1] != line {
						t.Errorf("%q: %q, want %q", data, merges, lines)
					}
				}
			}
		}
	})
}
