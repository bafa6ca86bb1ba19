// Command openaigo is OpenAI's own client for Go, unchanged, against one node.
//
// Usage: KEY=… POOR_KEY=… go run . NODE_URL
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

func main() {
	if err := run(context.Background(), os.Args[1]+"/v1"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(base, key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base), option.WithAPIKey(key), option.WithMaxRetries(0))
}

func run(ctx context.Context, base string) error {
	client := connect(base, os.Getenv("KEY"))
	for _, part := range []struct {
		name string
		try  func(context.Context, *openai.Client) error
	}{{"chat", chat}, {"stream", stream}, {"tools", tools}, {"responses", response}, {"embeddings", embeddings}} {
		if err := part.try(ctx, &client); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if err := refused(ctx, &client, "missing", 404); err != nil {
		return err
	}
	poor := connect(base, os.Getenv("POOR_KEY"))
	if err := refused(ctx, &poor, "demo", 429); err != nil {
		return err
	}
	stranger := connect(base, "sk-nobody")
	return refused(ctx, &stranger, "demo", 401)
}

func hello(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")}}
}

func chat(ctx context.Context, client *openai.Client) error {
	got, err := client.Chat.Completions.New(ctx, hello("demo"))
	if err != nil {
		return err
	}
	if got.Choices[0].Message.Content == "" || got.Usage.TotalTokens == 0 {
		return fmt.Errorf("got %s", got.RawJSON())
	}
	return nil
}

func stream(ctx context.Context, client *openai.Client) error {
	ask := hello("demo")
	ask.StreamOptions.IncludeUsage = openai.Bool(true)
	s := client.Chat.Completions.NewStreaming(ctx, ask)
	var all openai.ChatCompletionAccumulator
	for s.Next() {
		all.AddChunk(s.Current())
	}
	if err := s.Err(); err != nil {
		return err
	}
	if !strings.Contains(all.Choices[0].Message.Content, "hello") || all.Usage.TotalTokens == 0 {
		return fmt.Errorf("got %+v", all.ChatCompletion)
	}
	return nil
}

func tools(ctx context.Context, client *openai.Client) error {
	ask := hello("demo")
	ask.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "get_weather", Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
	})}
	ask.ToolChoice.OfAuto = openai.String("required")
	got, err := client.Chat.Completions.New(ctx, ask)
	if err != nil {
		return err
	}
	calls := got.Choices[0].Message.ToolCalls
	if len(calls) != 1 || calls[0].Function.Name != "get_weather" || !json.Valid([]byte(calls[0].Function.Arguments)) {
		return fmt.Errorf("got %s", got.RawJSON())
	}
	ask.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{}
	ask.Messages = append(ask.Messages, got.Choices[0].Message.ToParam(), openai.ToolMessage("sunny", calls[0].ID))
	got, err = client.Chat.Completions.New(ctx, ask)
	if err == nil && got.Choices[0].Message.Content == "" {
		err = fmt.Errorf("got %s", got.RawJSON())
	}
	return err
}

func response(ctx context.Context, client *openai.Client) error {
	ask := responses.ResponseNewParams{Model: "demo", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello")}}
	whole, err := client.Responses.New(ctx, ask)
	if err != nil {
		return err
	}
	s := client.Responses.NewStreaming(ctx, ask)
	text, last := "", ""
	for s.Next() {
		e := s.Current()
		if last = e.Type; last == "response.output_text.delta" {
			text += e.Delta
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	if text == "" || text != whole.OutputText() || last != "response.completed" {
		return fmt.Errorf("streamed %q, which ended with %s, and whole %q", text, last, whole.OutputText())
	}
	return nil
}

func embeddings(ctx context.Context, client *openai.Client) error {
	got, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: "demo", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}},
	})
	if err == nil && len(got.Data) != 2 {
		err = fmt.Errorf("got %s", got.RawJSON())
	}
	return err
}

// refused asks for an answer and expects a status.
func refused(ctx context.Context, client *openai.Client, model string, status int) error {
	_, err := client.Chat.Completions.New(ctx, hello(model))
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != status || e.Code == "" {
		return fmt.Errorf("got %w, want status %d with a code", err, status)
	}
	return nil
}
