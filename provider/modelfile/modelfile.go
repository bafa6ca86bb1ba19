// Package modelfile checks, when a deployment is written, its provider and the files that it names: how its model reads, which
// the chat template in Jinja and the tokenizer say, and the authorities of its way. What is wrong there would else show at the
// first request.
package modelfile

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chattemplate"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

// ErrUnread says that a file is not there to be checked.
var ErrUnread = errors.New("the file cannot be read")

// Check checks the provider of a deployment, and its files, each read by its digest. An error is a *resource.Invalid that
// names the field, or wraps ErrUnread where a file could not be read.
func Check(d *resource.Deployment, read func(digest string) ([]byte, error)) error {
	if err := checkProvider(d.Provider); err != nil {
		return err
	}
	if err := checkTemplate(d, read); err != nil {
		return err
	}
	if err := checkTokenizer(d, read); err != nil {
		return err
	}
	return CheckWay(&d.Egress, read)
}

// CheckWay checks the authorities that a way names by their digests, with errors as those of Check.
func CheckWay(e *resource.Egress, read func(digest string) ([]byte, error)) error {
	for field, digest := range e.Blobs {
		body, err := read(digest)
		if err != nil {
			return unread(field, err)
		}
		if err := resource.ValidCertificates(field, string(body)); err != nil {
			return err
		}
	}
	return nil
}

// checkProvider refuses a provider that is not in the table, and names those whose names are like it.
func checkProvider(name string) error {
	if _, ok := provider.Lookup(name); ok || name == "" { // validation refuses an empty one
		return nil
	}
	reason := strconv.Quote(name) + " is not known; conclave provider list shows all"
	var like []string
	for _, known := range provider.Names() {
		if strings.Contains(known, name) || strings.Contains(name, known) {
			like = append(like, known)
		}
	}
	if len(like) > 0 {
		reason += ", such as " + strings.Join(like, ", ")
	}
	return &resource.Invalid{Field: "provider", Reason: reason + "; custom_openai is any server that speaks OpenAI's format"}
}

func checkTemplate(d *resource.Deployment, read func(string) ([]byte, error)) error {
	t := d.PromptTemplate
	if t == nil {
		return nil
	}
	if p, ok := provider.Lookup(d.Provider); ok && !p.For(d.Upstream).Serves(llm.Completions) {
		return &resource.Invalid{Field: "prompt_template", Reason: "the provider " + d.Provider + " has no completions, to which the text would go; one that has is text-completion-openai"}
	}
	if t.Jinja == "" {
		return nil
	}
	source, err := read(t.Jinja)
	if err != nil {
		return unread("prompt_template.jinja", err)
	}
	if _, err := chattemplate.Compile(string(source), chattemplate.Parts{BOS: t.BOS, EOS: t.EOS}); err != nil {
		return &resource.Invalid{Field: "prompt_template.jinja", Reason: strings.TrimSuffix(err.Error(), ".")}
	}
	return nil
}

func checkTokenizer(d *resource.Deployment, read func(string) ([]byte, error)) error {
	const field = "metadata.custom_tokenizer"
	t, err := d.Tokenizer()
	switch {
	case err != nil:
		return &resource.Invalid{Field: field, Reason: "is neither a name nor an object with encoding or blob"}
	case t == nil:
		return nil
	case t.Blob == "":
		if _, err := tokenize.Get(t.Name()); err != nil {
			return &resource.Invalid{Field: field, Reason: err.Error() + "; of another, give its tokenizer.json as {\"blob\": DIGEST}"}
		}
		return nil
	case !resource.ValidDigest(t.Blob):
		return &resource.Invalid{Field: field + ".blob", Reason: "is not the SHA-256 digest of a blob"}
	}
	data, err := read(t.Blob)
	if err != nil {
		return unread(field+".blob", err)
	}
	if _, err := tokenize.Load(data); err != nil {
		return &resource.Invalid{Field: field + ".blob", Reason: err.Error()}
	}
	return nil
}

func unread(field string, err error) error {
	return errors.Join(&resource.Invalid{Field: field, Reason: "the blob cannot be read: " + err.Error() + "; upload the file first (conclave blob put)"}, ErrUnread)
}
