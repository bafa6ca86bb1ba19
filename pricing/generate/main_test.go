package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const heading = "provider,model,mode,max_input_tokens,max_output_tokens,input,output,cache_read,cache_write,reasoning,tier_above,tier_input,tier_output,tier_cache_read,tier_cache_write\n"

func TestConvert(t *testing.T) {
	t.Parallel()
	got, err := convert(strings.NewReader(heading +
		"vertex_ai-x,vertex_ai/B,chat,10,5,1.25,1.6000000000000001,,0,,200000,2.5,,,\n" +
		",nobody,chat,,,1,,,,,,,,,\n" +
		"p,image,image_generation,,,1,,,,,,,,,\n" +
		"p,p/a,embedding,,,0.0001,0,,,,,,,,\n" +
		"p,a,chat,,,9,9,,,,,,,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"p\ta\tembedding\t\t\t100000\t0\t\t\t\t\t\t\t\t",
		"vertex_ai\tb\tchat\t10\t5\t1250000000\t1600000000\t\t0\t\t200000\t2500000000\t\t\t",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

func TestConvert_Refuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", heading + "p,m,chat,,,x,,,,,,,,,\n", heading + "p,m,chat,,,-1,,,,,,,,,\n", "a,b\n1\n", "provider,model,mode\np,m,chat\n"} {
		if got, err := convert(strings.NewReader(in)); err == nil {
			t.Errorf("%q: got %q, want an error", in, got)
		}
	}
}
