package vendors

// A Recording is a file of exchanges in the shapes in which a vendor answers, by its path from the folder of package
// provider, and a row of the table whose codec reads them.
type Recording struct{ File, Provider string }

// media are the rows that make or hear media and whose errors stand in a file named for them, as those of
// readers of documents and of other vendors do.
var (
	media = []string{
		"deepgram", "elevenlabs", "assemblyai_speech", "azure_speech", "aws_polly", "stability", "fal_ai", "recraft", "gemini_imagen", "soniox", "nvidia_riva",
		"black_forest_labs", "runwayml", "topaz", "xai", "dashscope", "minimax", "tencent", "fireworks_ai", "oci", "azure_ai_pictures", "gemini_transcribe",
		"vertex_ai_speech", "meta", "transcribe",
	}
	documents = []string{"aws_textract", "reducto"}
	others    = []string{
		"anthropic_text", "cloudflare", "databricks", "huggingface", "jina_ai", "mistral", "ragflow", "snowflake", "tei", "triton", "typesafe", "voyage", "watsonx",
	}
	// likeTexts and likeRerank are the rows whose errors are like those of others.
	likeTexts = []string{
		"a2a", "aleph_alpha", "bytez", "chatgpt", "langflow", "langgraph", "manus", "microsoft_365_copilot", "nlp_cloud", "petals", "predibase", "replicate", "gigachat",
		"text-completion-codestral", "triton",
	}
	likeRerank = []string{"nvidia_nim", "deepinfra", "cohere"}
)

// Recorded are all files of recorded exchanges.
func Recorded() []Recording {
	list := []Recording{
		{"anthropic/testdata/answers.jsonl", "anthropic"},
		{"anthropic/testdata/errors.jsonl", "anthropic"},
		{"azure/testdata/errors.jsonl", "azure"},
		{"azure/testdata/errors.jsonl", "azure_ai"},
		{"bedrock/testdata/exchanges.jsonl", "bedrock"},
		{"cohere/testdata/answers.jsonl", "cohere"},
		{"cohere/testdata/errors.jsonl", "cohere"},
		{"gemini/testdata/answers.jsonl", "gemini"},
		{"gemini/testdata/errors.jsonl", "gemini"},
		{"gemini/testdata/errors.jsonl", "vertex_ai"},
		{"ollama/testdata/answers.jsonl", "ollama_chat"},
		{"ollama/testdata/errors.jsonl", "ollama_chat"},
		{"openai/testdata/answers.jsonl", "openai"},
		{"openai/testdata/errors.jsonl", "openai"},
		{"openai/testdata/errors.jsonl", "sap"},
		{"testdata/errors_mistral.jsonl", "vertex_ai_openai"},
		{"testdata/errors_mistral.jsonl", "vertex_ai_mistral"},
		{"anthropic/testdata/errors.jsonl", "vertex_ai_anthropic"},
		{"sagemaker/testdata/errors.jsonl", "sagemaker"},
		{"sagemaker/testdata/errors.jsonl", "sagemaker_chat"},
		{"testdata/errors_watsonx.jsonl", "watsonx_text"},
	}
	for _, of := range []struct {
		prefix string
		rows   []string
	}{{"errors_media_", media}, {"errors_document_", documents}, {"errors_", others}} {
		for _, row := range of.rows {
			list = append(list, Recording{"testdata/" + of.prefix + row + ".jsonl", row})
		}
	}
	for _, row := range likeTexts {
		list = append(list, Recording{"testdata/errors_texts.jsonl", row})
	}
	for _, row := range likeRerank {
		list = append(list, Recording{"testdata/errors_rerank.jsonl", row})
	}
	return list
}
