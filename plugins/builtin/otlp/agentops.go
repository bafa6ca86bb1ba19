package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/sink"
)

// keepToken is how long a token is used; AgentOps' own are good for longer. One that is refused before is so for as long at most.
const keepToken = 10 * time.Minute

// tokens are those that AgentOps' API gives for a key, of which spans need one. They may be asked for concurrently.
type tokens struct {
	url, key string
	client   *http.Client

	mu    sync.Mutex // guards what follows
	token string
	since time.Time
}

// sign implements sink.Request's Sign.
func (t *tokens) sign(r *http.Request, _ []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock() // who comes meanwhile waits for the same token
	if t.token == "" || time.Since(t.since) > keepToken {
		token, err := t.ask(r.Context())
		if err != nil {
			return err
		}
		t.token, t.since = token, time.Now()
	}
	r.Header.Set("Authorization", "Bearer "+t.token)
	return nil
}

// ask exchanges the key for a token. Its errors hold neither.
func (t *tokens) ask(ctx context.Context) (string, error) {
	body, err := json.Marshal(map[string]string{"api_key": t.key})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Token string `json:"token"`
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s gives no token for the api_key: it answers %d", sink.Shown(t.url), res.StatusCode)
	}
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer) != nil || answer.Token == "" {
		return "", errors.New("the answer to the api_key has no token")
	}
	return answer.Token, nil
}
