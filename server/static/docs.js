SwaggerUIBundle({
  url: "docs-json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The validator is a service on the internet.
  validatorUrl: null,
});
