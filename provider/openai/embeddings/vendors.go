package embeddings

import "github.com/conclave-llm/conclave/llm/embed"

// The forms of vendors that are OpenAI's but for names.
var (
	Voyage = Format{
		Dimensions: "output_dimension", Purpose: "input_type", Truncate: "truncation", Known: []string{"output_dimension", "truncation", "output_dtype", "input_type"},
		Words: embed.Words{embed.PurposeQuery: "query", embed.PurposeDocument: "document", embed.PurposeQuestion: "query", embed.PurposeFact: "query", embed.PurposeCode: "query"},
	}
	Jina = Format{
		Dimensions: "dimensions", Encoding: "embedding_type", Purpose: "task", Truncate: "truncate", Origin: origin,
		Known: []string{"task", "late_chunking", "normalized", "truncate", "embedding_type", "return_multivector"},
		Words: embed.Words{
			embed.PurposeQuery: "retrieval.query", embed.PurposeDocument: "retrieval.passage", embed.PurposeSimilarity: "text-matching",
			embed.PurposeClassification: "classification", embed.PurposeClustering: "separation", embed.PurposeQuestion: "retrieval.query",
			embed.PurposeFact: "retrieval.query", embed.PurposeCode: "code.query",
		},
	}
	Mistral = Format{Dimensions: "output_dimension", Encoding: "encoding_format", Known: []string{"output_dimension", "output_dtype"}}
)
