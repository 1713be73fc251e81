(function(){var q=document.getElementById("q"),list=document.getElementById("list");
if(q)q.addEventListener("input",function(){var w=q.value.toLowerCase(),b=list.tBodies[0];for(var i=0;i<b.rows.length;i++){var r=b.rows[i];r.hidden=w&&r.textContent.toLowerCase().indexOf(w)<0}});
Array.prototype.forEach.call(document.querySelectorAll("table.sortable"),function(t){var heads=t.tHead.rows[0].cells,b=t.tBodies[0];
Array.prototype.forEach.call(heads,function(h,c){h.querySelector("button").addEventListener("click",function(){var up=h.getAttribute("aria-sort")!=="ascending";
Array.prototype.forEach.call(heads,function(x){x.setAttribute("aria-sort","none")});h.setAttribute("aria-sort",up?"ascending":"descending");
var rows=Array.prototype.slice.call(b.rows);rows.sort(function(x,y){var v=x.cells[c].textContent.localeCompare(y.cells[c].textContent,undefined,{numeric:true});return up?v:-v});rows.forEach(function(r){b.appendChild(r)})})})})})();
