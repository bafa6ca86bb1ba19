package triton_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/triton"
)

// TestEmbed_DecodeResponse_Bad: tensors that are no vectors, or not as many numbers as their shape says, are the
// provider's fault.
func TestEmbed_DecodeResponse_Bad(t *testing.T) {
	t.Parallel()
	for name, outputs := range map[string]string{
		"none":                 ``,
		"no shape":             `{"datatype":"FP32","data":[1,2]}`,
		"a row":                `{"datatype":"FP32","shape":[2],"data":[1,2]}`,
		"words of a text":      `{"datatype":"FP32","shape":[1,2,2],"data":[1,2,3,4]}`,
		"too few numbers":      `{"datatype":"FP32","shape":[2,2],"data":[1,2,3]}`,
		"too many numbers":     `{"datatype":"FP32","shape":[1,2],"data":[1,2,3]}`,
		"no numbers":           `{"datatype":"FP32","shape":[1,2],"data":["a","b"]}`,
		"nothing in it":        `{"datatype":"FP32","shape":[1,0],"data":[]}`,
		"huge":                 `{"datatype":"FP32","shape":[9007199254740993,9007199254740993],"data":[1]}`,
		"no array":             `{"datatype":"FP32","shape":[1,2],"data":{"a":1}}`,
		"whole numbers":        `{"datatype":"INT8","shape":[1,2],"data":[1,2]}`,
		"two of them":          `{"shape":[1,1],"data":[1]},{"datatype":"FP32","shape":[1,1],"data":[1]}`,
		"more than the answer": `{"datatype":"FP32","shape":[1,2],"data":[1,2]}]`,
	} {
		_, err := triton.Embed{}.DecodeResponse([]byte(`{"model_name":"m","outputs":[` + outputs + `]}`))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || e.Code != "invalid_response" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := triton.Embed{}.DecodeResponse([]byte(`{"outputs":[{"shape":[1,1],"data":[1]},{"shape":[1,1],"data":[1]}]}`))
	if e, ok := errors.AsType[*llm.Error](err); !ok || !strings.Contains(e.Err.Error(), "triton_output") {
		t.Errorf("got %v, want the option's name", err)
	}
}

// FuzzEmbed: no answer makes the reader panic, and what it takes are vectors of numbers, all of one length.
func FuzzEmbed(f *testing.F) {
	f.Add([]byte(`{"model_name":"m","outputs":[{"name":"e","datatype":"FP32","shape":[2,2],"data":[1,-2,3.5,4e-1]}]}`))
	f.Add([]byte(`{"outputs":[{"shape":[2,1,1],"data":[[[1]],[[2]]]},{"datatype":"INT32","shape":[1],"data":[1]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := triton.Embed{}.DecodeResponse(body)
		if err != nil {
			return
		}
		for _, v := range res.Vectors {
			if got, want := strings.Count(string(v.JSON), ","), strings.Count(string(res.Vectors[0].JSON), ","); got != want || v.JSON[0] != '[' {
				t.Fatalf("%s: got %s beside %s", body, v.JSON, res.Vectors[0].JSON)
			}
		}
	})
}
