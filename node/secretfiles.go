package node

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/secret"
)

// filesEvery is how often the files to which references lead are read again.
const filesEvery = 5 * time.Second

// secretFiles are the files of this node to which references have led. The zero value is ready; it may be used concurrently.
type secretFiles struct {
	mu   sync.Mutex             // guards what follows
	held map[string]secret.Text // by their references; zero: it could not be read
}

// resolve reads the file of a reference, which is watched from then on.
func (f *secretFiles) resolve(ref string) (secret.Text, error) {
	text, err := secret.Resolve(ref)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = map[string]secret.Text{}
	}
	f.held[ref] = text
	return text, err
}

// changed says whether one of them has another text than when it was resolved. All are forgotten then: who needs them
// resolves them anew.
func (f *secretFiles) changed() bool {
	f.mu.Lock()
	held := maps.Clone(f.held)
	f.mu.Unlock()
	for ref, was := range held {
		if now, _ := secret.Resolve(ref); !now.Equal(was) { // what cannot be read has no text
			f.mu.Lock()
			clear(f.held)
			f.mu.Unlock()
			return true
		}
	}
	return false
}

// watchSecretFiles has everything made anew that holds what stood in a file, when it has another text or is gone.
func (n *Node) watchSecretFiles(ctx context.Context) {
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if n.files.changed() {
				n.log.Info("a file with a secret has changed")
				n.secretsChanged()
			}
		case <-ctx.Done():
			return
		}
	}
}
