package secretsource

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// writeTimeout bounds one write to a store.
const writeTimeout = 5 * time.Second

// store is the process that serves a reference's source, if the operator lets it do so.
func (c *Cache) store(text string, may func(*resource.SecretSource) bool, doing string) (resource.SecretRef, Reader, error) {
	ref, err := resource.ParseSecretRef(text)
	if err != nil {
		return ref, nil, &secret.Unresolved{Reference: text, Reason: string(Malformed), Err: err}
	}
	s, ok := c.cfg.Source(ref.Source)
	if !ok {
		return ref, nil, &secret.Unresolved{Reference: text, Reason: "no_source", Err: fmt.Errorf("there is no secret source %q", ref.Source)}
	}
	if !may(s) {
		return ref, nil, unresolved(text, &Error{Denied, fmt.Sprintf("the access_mode %s of the secret source does not let it be %s", s.AccessMode, doing)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.readers[ref.Source]
	if r == nil {
		return ref, nil, unresolved(text, &Error{Unavailable, "the secret source is not running"})
	}
	return ref, r, nil
}

// writer is store for a source that writes.
func (c *Cache) writer(text string) (resource.SecretRef, Writer, error) {
	ref, r, err := c.store(text, (*resource.SecretSource).Writes, "written")
	if err != nil {
		return ref, nil, err
	}
	w, ok := r.(Writer)
	if !ok {
		return ref, nil, unresolved(text, errReadsOnly)
	}
	return ref, w, nil
}

// Fetch reads a secret out of its store now and keeps nothing of it. Its error is a *secret.Unresolved.
func (c *Cache) Fetch(ctx context.Context, text string) (secret.Text, error) {
	ref, r, err := c.store(text, (*resource.SecretSource).Reads, "read")
	if err != nil {
		return secret.Text{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	v, err := r.Read(ctx, Address{Path: ref.Path, Field: ref.Field})
	if err != nil {
		return secret.Text{}, unresolved(text, err)
	}
	return v.Text, nil
}

// Put writes a secret into its store; description is for the people who look into it. Its error is a
// *secret.Unresolved. What this node holds of the path is read again.
func (c *Cache) Put(ctx context.Context, text string, value secret.Text, description string) error {
	ref, w, err := c.writer(text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err = w.Write(ctx, Written{Path: ref.Path, Text: value, Description: description})
	return c.wrote(text, ref, err)
}

// Remove takes a secret out of its store. Its error is a *secret.Unresolved, of the reason not_found if
// it was not there.
func (c *Cache) Remove(ctx context.Context, text string) error {
	ref, w, err := c.writer(text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.wrote(text, ref, w.Delete(ctx, ref.Path))
}

// wrote counts a write and has its path read again.
func (c *Cache) wrote(text string, at resource.SecretRef, err error) error {
	if err != nil {
		c.metrics.writes.WithLabelValues(at.Source, result(err)).Inc()
		return unresolved(text, err)
	}
	c.metrics.writes.WithLabelValues(at.Source, "ok").Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref, h := range c.held {
		if ref.Source == at.Source && ref.Path == at.Path {
			c.readLocked(ref, h)
		}
	}
	return nil
}
