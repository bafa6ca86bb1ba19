package routerfilter

import (
	"testing"

	wire "google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/proto"
)

// FuzzChosen reads whatever a plugin may say: what is taken are candidates, each once.
func FuzzChosen(f *testing.F) {
	for _, a := range []*proto.RouteAnswer{{Id: 1, Chosen: []uint32{2, 0}}, {Id: 1, Chosen: []uint32{1, 1}}, {Id: 1, Chosen: []uint32{1 << 31}}, {Id: 1, Error: "x\xc3\xa9"}} {
		b, err := wire.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a proto.RouteAnswer
		if wire.Unmarshal(b, &a) != nil {
			return
		}
		const candidates = 3
		got, err := chosen(&a, candidates)
		if err != nil {
			return
		}
		seen := map[int]bool{}
		for _, at := range got {
			if at < 0 || at >= candidates || seen[at] {
				t.Errorf("got %v", got)
			}
			seen[at] = true
		}
	})
}
