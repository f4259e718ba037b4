ipvsadm -A -u 192.0.2.10:1000 -s rr
ipvsadm -a -u 192.0.2.10:1000 -r 198.51.100.12:1000 -i 
ipvsadm -A -u 192.0.2.10:1001 -s rr
ipvsadm -a -u 192.0.2.10:1001 -r 198.51.100.13:1001 -i --tun-type gre
ipvsadm -A -u 192.0.2.10:1002 -s rr
ipvsadm -a -u 192.0.2.10:1002 -r 198.51.100.14:1002 -i --tun-type gre --tun-csum
ipvsadm -A -u 192.0.2.10:1003 -s rr
ipvsadm -a -u 192.0.2.10:1003 -r 198.51.100.15:1003 -i --tun-type gue --tun-port 6080
ipvsadm -A -u 192.0.2.10:1004 -s rr
ipvsadm -a -u 192.0.2.10:1004 -r 198.51.100.16:1004 -i --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -A -u 192.0.2.10:1005 -s rr
ipvsadm -a -u 192.0.2.10:1005 -r [2001:db8:2::17]:1005 -i 
ipvsadm -A -u 192.0.2.10:1006 -s rr
ipvsadm -a -u 192.0.2.10:1006 -r [2001:db8:2::18]:1006 -i --tun-type gre
ipvsadm -A -u 192.0.2.10:1007 -s rr
ipvsadm -a -u 192.0.2.10:1007 -r [2001:db8:2::11]:1007 -i --tun-type gre --tun-csum
ipvsadm -A -u 192.0.2.10:1008 -s rr
ipvsadm -a -u 192.0.2.10:1008 -r [2001:db8:2::12]:1008 -i --tun-type gue --tun-port 6080
ipvsadm -A -u 192.0.2.10:1009 -s rr
ipvsadm -a -u 192.0.2.10:1009 -r [2001:db8:2::13]:1009 -i --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -A -u [2001:db8:1::10]:1010 -s rr
ipvsadm -a -u [2001:db8:1::10]:1010 -r 198.51.100.14:1010 -i 
ipvsadm -A -u [2001:db8:1::10]:1011 -s rr
ipvsadm -a -u [2001:db8:1::10]:1011 -r 198.51.100.15:1011 -i --tun-type gre
ipvsadm -A -u [2001:db8:1::10]:1012 -s rr
ipvsadm -a -u [2001:db8:1::10]:1012 -r 198.51.100.16:1012 -i --tun-type gre --tun-csum
ipvsadm -A -u [2001:db8:1::10]:1013 -s rr
ipvsadm -a -u [2001:db8:1::10]:1013 -r 198.51.100.17:1013 -i --tun-type gue --tun-port 6080
ipvsadm -A -u [2001:db8:1::10]:1014 -s rr
ipvsadm -a -u [2001:db8:1::10]:1014 -r 198.51.100.18:1014 -i --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -A -u [2001:db8:1::10]:1015 -s rr
ipvsadm -a -u [2001:db8:1::10]:1015 -r [2001:db8:2::11]:1015 -i 
ipvsadm -A -u [2001:db8:1::10]:1016 -s rr
ipvsadm -a -u [2001:db8:1::10]:1016 -r [2001:db8:2::12]:1016 -i --tun-type gre
ipvsadm -A -u [2001:db8:1::10]:1017 -s rr
ipvsadm -a -u [2001:db8:1::10]:1017 -r [2001:db8:2::13]:1017 -i --tun-type gre --tun-csum
ipvsadm -A -u [2001:db8:1::10]:1018 -s rr
ipvsadm -a -u [2001:db8:1::10]:1018 -r [2001:db8:2::14]:1018 -i --tun-type gue --tun-port 6080
ipvsadm -A -u [2001:db8:1::10]:1019 -s rr
ipvsadm -a -u [2001:db8:1::10]:1019 -r [2001:db8:2::15]:1019 -i --tun-type gue --tun-port 6080 --tun-csum
