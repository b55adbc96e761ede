namespace Hypervisor.Ctl.Output;

/// <summary>What <c>-o</c> takes.</summary>
internal enum OutputFormat
{
    Table,

    /// <summary>A table with more columns.</summary>
    Wide,

    /// <summary>The API's own answer as protobuf JSON.</summary>
    Json,

    /// <summary>The same as YAML.</summary>
    Yaml,

    /// <summary>One name per line.</summary>
    Name,
}
