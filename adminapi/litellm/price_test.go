package litellm

import "testing"

func TestPerMillion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1.5e-07": "0.150000000", "0.0000006": "0.600000000", "1E-6": "1.000000000", "0": "0.000000000",
		"1e999999999": "", "1/3": "", "0x1p4": "", `"1"`: "", "": "", "1e-31": "", "{}": "",
	} {
		got, err := perMillion(text)
		if (err == nil) != (want != "") || got != want {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}
