package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

const digest = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func sample() *manifest.Manifest {
	return &manifest.Manifest{
		Format: manifest.Format, Name: "shout", Version: "1.2.0", Kind: "guardrail",
		Binaries: []manifest.Binary{
			{OS: "linux", Arch: "amd64", SHA256: digest, Size: 1},
			{OS: "linux", Arch: "arm64", SHA256: strings.Repeat("b", 64), Size: 2},
		},
	}
}

func TestManifest_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*manifest.Manifest)
		want   string // part of the error; "": valid
	}{
		{"valid", func(*manifest.Manifest) {}, ""},
		{"newer format", func(m *manifest.Manifest) { m.Format = 2 }, "format 2"},
		{"no name", func(m *manifest.Manifest) { m.Name = "" }, "name"},
		{"line break in the version", func(m *manifest.Manifest) { m.Version = "1\n2" }, "version"},
		{"unknown kind", func(m *manifest.Manifest) { m.Kind = "router" }, `"router" is not one of`},
		{"schema that is not JSON", func(m *manifest.Manifest) { m.Schema = []byte("{") }, "schema"},
		{"no binaries", func(m *manifest.Manifest) { m.Binaries = nil }, "0 binaries"},
		{"digest in capitals", func(m *manifest.Manifest) { m.Binaries[0].SHA256 = strings.ToUpper(digest) }, "binaries[0].sha256"},
		{"platform with a path", func(m *manifest.Manifest) { m.Binaries[1].OS = "../x" }, "binaries[1]"},
		{"half of any", func(m *manifest.Manifest) { m.Binaries[1].OS = "any" }, "binaries[1]"},
		{"no size", func(m *manifest.Manifest) { m.Binaries[0].Size = 0 }, "size"},
		{"one platform twice", func(m *manifest.Manifest) { m.Binaries[1] = m.Binaries[0] }, "two binaries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := sample()
			tt.change(m)
			err := m.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestManifest_For(t *testing.T) {
	t.Parallel()
	m := sample()
	if b, ok := m.For("linux", "arm64"); !ok || b.SHA256 != m.Binaries[1].SHA256 {
		t.Errorf("For(linux, arm64) = %v, %v", b, ok)
	}
	if b, ok := m.For("darwin", "arm64"); ok {
		t.Errorf("For(darwin, arm64) = %v, want none", b)
	}
	m.Binaries = append(m.Binaries, manifest.Binary{OS: "any", Arch: "any", SHA256: digest, Size: 1})
	if b, ok := m.For("darwin", "arm64"); !ok || b.OS != manifest.Any {
		t.Errorf("For(darwin, arm64) = %v, %v, want the one for any", b, ok)
	}
}

func TestTrust_Check(t *testing.T) {
	t.Parallel()
	key, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	text, err := sample().Text()
	if err != nil {
		t.Fatal(err)
	}
	s, err := key.Sign(signing.PluginBundle, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	mine, others := signing.Trust{key.Public()}, signing.Trust{stranger.Public()}
	for _, tt := range []struct {
		name            string
		trust           manifest.Trust
		text, signature string
		want            error
	}{
		{"unsigned", manifest.Trust{}, text, "", nil},
		{"unsigned, required", manifest.Trust{Publishers: mine, Require: true}, text, "", manifest.ErrUnsigned},
		{"signed by anybody", manifest.Trust{}, text, s.String(), nil},
		{"changed after it was signed", manifest.Trust{}, text + " ", s.String(), signing.ErrSignature},
		{"trusted", manifest.Trust{Publishers: mine, Require: true}, text, s.String(), nil},
		{"a stranger's", manifest.Trust{Publishers: others}, text, s.String(), signing.ErrUntrusted},
		{"required, and nobody is trusted", manifest.Trust{Require: true}, text, s.String(), signing.ErrUntrusted},
		{"no signature at all", manifest.Trust{}, text, "x", signing.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.trust.Check(tt.text, tt.signature); !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
	if got := manifest.Publisher(s.String()); got != key.Public().Fingerprint() {
		t.Errorf("Publisher = %q", got)
	}
}

func FuzzParse(f *testing.F) {
	text, err := sample().Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(`{"format":1,"binaries":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := manifest.Parse(text)
		if err != nil {
			return
		}
		if _, err := m.Text(); err != nil {
			t.Errorf("a manifest that was read cannot be written: %v", err)
		}
	})
}
