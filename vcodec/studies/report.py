def write_report(folder, results):
    import json
    (folder/"study.json").write_text(json.dumps(results)); return results
