package batch

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// Due is a batch of a provider's that is over, as its answers tell of it.
type Due struct {
	ID   string
	File string // of its output; "": it is a batch of Anthropic's, which has none
}

// Path is where what the batch has made is, below the provider's address.
func (d *Due) Path() string {
	if d.File == "" {
		return "v1/messages/batches/" + url.PathEscape(d.ID) + "/results"
	}
	return "files/" + url.PathEscape(d.File) + "/content"
}

// Dues reads those out of an answer of a provider's: one batch, or a page of them.
func Dues(answer []byte) (all []Due) {
	type shown struct {
		ID         string `json:"id"`
		File       string `json:"output_file_id"`
		Object     string `json:"object"`
		Status     string `json:"status"`
		Type       string `json:"type"`
		Processing string `json:"processing_status"`
	}
	var page struct {
		shown
		Data []shown `json:"data"`
	}
	if json.Unmarshal(answer, &page) != nil {
		return nil
	}
	for _, b := range append(page.Data, page.shown) {
		over := b.Status == "completed" || b.Status == "expired" || b.Status == "cancelled" // what was made before is paid, too
		switch {
		case b.Object == "batch" && over && b.File != "":
			all = append(all, Due{ID: b.ID, File: b.File})
		case b.Type == "message_batch" && b.Processing == "ended":
			all = append(all, Due{ID: b.ID})
		}
	}
	return all
}

// Bill is what the requests of a batch have used that one model has answered.
type Bill struct {
	Model    string // as the provider calls it
	Usage    llm.Usage
	Requests int
}

// BillsOf adds up what the lines of a batch's output say that they used, by model in the order of the lines. Lines
// that say nothing, as those that failed, are free.
func BillsOf(output []byte) (all []Bill) {
	for line := range bytes.Lines(output) {
		model, u, ok := used(line)
		if !ok {
			continue
		}
		i := slices.IndexFunc(all, func(b Bill) bool { return b.Model == model })
		if i < 0 {
			i = len(all)
			all = append(all, Bill{Model: model, Usage: llm.Usage{Source: llm.UsageProvider, Service: llm.ServiceBatch}})
		}
		all[i].Requests++
		add(&all[i].Usage, &u)
	}
	return all
}

// used is what a line has used, of OpenAI's or of Anthropic's.
func used(line []byte) (model string, u llm.Usage, ok bool) {
	var l struct {
		Response struct {
			Status int             `json:"status_code"`
			Body   json.RawMessage `json:"body"`
		} `json:"response"`
		Result struct {
			Message json.RawMessage `json:"message"`
		} `json:"result"`
	}
	if json.Unmarshal(line, &l) != nil {
		return "", u, false
	}
	body := l.Result.Message
	if body != nil {
		u, ok = llm.ReadUsage(llm.DialectAnthropic, body)
	} else if body = l.Response.Body; l.Response.Status == 200 {
		r, err := llm.Read(body)
		u, ok = r.Usage, err == nil && r.HasUsage
	}
	if !ok {
		return "", u, false
	}
	var said struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &said) // its syntax is read
	return said.Model, u, true
}

// add adds the tokens of a line.
func add(to, u *llm.Usage) {
	to.Input += u.Input
	to.CacheRead += u.CacheRead
	to.CacheWrite += u.CacheWrite
	to.CacheWrite1h += u.CacheWrite1h
	to.CacheReadAudio += u.CacheReadAudio
	to.CacheReadImage += u.CacheReadImage
	to.AudioInput += u.AudioInput
	to.ImageInput += u.ImageInput
	to.Output += u.Output
	to.Reasoning += u.Reasoning
	to.AudioOutput += u.AudioOutput
	to.ImageOutput += u.ImageOutput
	to.Units.Queries += u.Units.Queries
}
