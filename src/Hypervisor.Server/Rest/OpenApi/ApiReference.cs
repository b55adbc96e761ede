using System.Text;
using System.Text.Json;

namespace Hypervisor.Server.Rest.OpenApi;

/// <summary>Serves the description of the API. It is made when somebody first asks: few do, and it needs the descriptors' source.</summary>
internal sealed class ApiReference
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    private readonly Lazy<(byte[] Document, byte[] Page)> _made = new(() =>
    {
        var api = ApiDescription.Load();
        return (
            Encoding.UTF8.GetBytes(OpenApiDocument.Build(api, CommandLine.Version).ToJsonString(Indented) + "\n"),
            Encoding.UTF8.GetBytes(ReferencePage.Build(api, CommandLine.Version)));
    });

    public Task WriteDocumentAsync(HttpContext context) => WriteAsync(context, "application/json; charset=utf-8", _made.Value.Document);

    public Task WritePageAsync(HttpContext context)
    {
        // The page loads nothing and runs nothing, whatever a comment may contain.
        context.Response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return WriteAsync(context, "text/html; charset=utf-8", _made.Value.Page);
    }

    private static async Task WriteAsync(HttpContext context, string contentType, byte[] body)
    {
        if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
        {
            context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            context.Response.Headers.Allow = "GET, HEAD";
            return;
        }

        context.Response.ContentType = contentType;
        context.Response.ContentLength = body.Length;
        await context.Response.Body.WriteAsync(body, context.RequestAborted);
    }
}
