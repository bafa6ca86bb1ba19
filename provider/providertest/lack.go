package providertest

// Lack is something that a dialect has no words for, so that it is not looked for. What it cannot be asked is
// left out and named, or refused.
type Lack uint8

// What dialects may lack.
const (
	CallIDs      Lack = iota // calls of tools have no ids, or others
	Reasoning                // answers have no reasoning
	SentThoughts             // requests have no reasoning
	Signatures               // reasoning has no signatures
	Redacted                 // reasoning that may not be read
	Refusals                 // refusals are no parts of their own
	Choices                  // there is one choice only
	ImageURLs                // images by their address
	Images                   // images at all
	Audio                    // of a request
	Files                    // of a request
	ToolErrors               // results of tools do not say that they failed
	ToolImages               // results of tools hold texts only
	Tools                    // tools at all
	Choose                   // a tool cannot be chosen
	Schemas                  // answers cannot be bound to a schema
	Stops                    // stop sequences
	Usages                   // answers report no usage
	Caches                   // usage does not tell what a cache held
	Thoughts                 // usage does not tell tokens of reasoning
	Heads                    // answers have no id, or do not name the model
	Turns                    // a request is one text
	CacheWrites              // usage does not tell what was written to a cache
	OpenSchemas              // schemas lose what the vendor has no word for, such as additionalProperties
	NamedTypes               // media at an address need a type, which is made of it
	Parallel                 // several calls at once
	Texts                    // conversations are one text
	Streams                  // nothing is streamed: one is streamed as one answer
	Ends                     // streams end with their bytes alone
	Failures                 // streams tell of no errors
	JSON                     // requests are no JSON
	Pictureless              // each request has a picture
	Repeats                  // a request that is written twice differs
)
